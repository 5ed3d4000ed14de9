// `npm run generate`: writes what is made from the program's own tables and checked in:
//   completions/                one script for each shell
//   man/tokctl.1                the man page
//   schema/config.schema.json   what editors know of the configuration
// A test holds each of them against the program, so that a new command or key cannot be forgotten.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { manPage } from './man-page.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

const { commandTree, completionOf, configSchema, shells } = await load()
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const completionFiles = { bash: 'tokctl.bash', zsh: '_tokctl', fish: 'tokctl.fish', powershell: 'tokctl.ps1' }
const completion = await completionOf()
for (const [shell, writer] of Object.entries(shells)) {
  put(`completions/${completionFiles[shell]}`, (await writer())(completion))
}
const released = new RegExp(`^## \\[${version.replaceAll('.', '\\.')}\\] - ([-\\d]+)$`, 'm').exec(
  readFileSync(join(root, 'CHANGELOG.md'), 'utf8'),
)
put('man/tokctl.1', manPage(await commandTree(), version, released?.[1] ?? ''))
put('schema/config.schema.json', `${JSON.stringify(configSchema(), null, 2)}\n`)

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
        contents: `
export { commandTree } from './src/cli/command-tree.ts'
export { completionOf, shells } from './src/cli/completion.ts'
export { configSchema } from './src/profile/schema.ts'`,
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
