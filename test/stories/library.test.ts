import { mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { clientProfile, corp } from '../support/corp.ts'
import { run } from '../support/run.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const page = readFileSync(join(root, 'docs', 'library.md'), 'utf8')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

function examples(text: string): [first: string, code: string][] {
  return [...text.matchAll(/^## (.*)$|^```js\n([\s\S]*?)^```/gm)]
    .reduce<[string, string][]>((found, [, title, code]) => {
      const last = found.at(-1)?.[0] ?? 'the first'
      if (title !== undefined) found.push([title, ''])
      else found.push([last, code!])
      return found
    }, [])
    .filter(([, code]) => code !== '')
}

test.each([...examples(page), ...examples(readme)])(
  'the example of "%s" does what it says',
  async (_, code) => {
    const { at, auth, options } = await corp()
    const api = createServer(({ headers, method }, response) => {
      response.statusCode = headers.authorization === 'Bearer token-1' && method !== undefined ? 200 : 401
      response.end()
    })
    await new Promise<void>(resolve => api.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      api.closeAllConnections()
      api.close()
    })
    const url = `http://127.0.0.1:${(api.address() as AddressInfo).port}`
    at.writeConfig(clientProfile('corp', auth.tokenEndpoint, `match = ["${url}"]`))
    mkdirSync(join(at.path, 'node_modules'))
    symlinkSync(root, join(at.path, 'node_modules', 'tokctl'))
    symlinkSync(join(root, 'node_modules', 'undici'), join(at.path, 'node_modules', 'undici'))
    const file = at.write('example.mjs', code.replaceAll('https://api.example.com', url))
    const result = await run([], { ...options, program: [process.execPath, file] })
    const promised = [...code.matchAll(/\/\/ prints: (.*)$/gm)].map(([, line]) => `${line}\n`)
    expect(result).toMatchObject({ code: 0, stderr: '', stdout: promised.join('') })
  },
)

test('there are that many examples', () => {
  expect([examples(page).length, examples(readme).length]).toEqual([5, 1])
})
