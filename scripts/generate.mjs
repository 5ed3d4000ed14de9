// `npm run generate`: writes what is made from the program's own tables and checked in:
//   completions/   one script for each shell
// A test holds each of them against the program, so that a new command or key cannot be forgotten.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

const { completionOf, shells } = await load()
const completionFiles = { bash: 'tokctl.bash', zsh: '_tokctl', fish: 'tokctl.fish', powershell: 'tokctl.ps1' }
const completion = await completionOf()
for (const [shell, writer] of Object.entries(shells)) {
  put(`completions/${completionFiles[shell]}`, (await writer())(completion))
}

function put(path, text) {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}

/** The tables are TypeScript, which Node 20 does not run by itself. */
async function load() {
  const scratch = mkdtempSync(join(tmpdir(), 'tokctl-generate-'))
  try {
    const outfile = join(scratch, 'tables.mjs')
    await build({
      absWorkingDir: root,
      stdin: {
        contents: `export { completionOf, shells } from './src/cli/completion.ts'`,
        resolveDir: root,
      },
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: ['fs-native-extensions', '@napi-rs/keyring'],
      banner: {
        js: `import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url)`,
      },
      define: { __VERSION__: '""', __COMMIT__: '""' },
      logLevel: 'warning',
    })
    return await import(pathToFileURL(outfile).href)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
