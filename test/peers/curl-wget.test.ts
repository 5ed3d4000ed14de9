import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type Corp, corp } from '../support/corp.ts'
import { programFile, type RunResult, run, start } from '../support/run.ts'

// curl and wget, which ask nobody: they are handed the token through a pipe, and it stands on no command line, which every
// user of the machine can read.

const token = 'canary-0123456789abcdefghijklmnopqrstuvwxyz'

interface Peer extends Corp {
  readonly url: string
  shell(script: string): Promise<{
    readonly result: RunResult
    readonly authorization: string | undefined
    readonly seen: string[]
  }>
}

async function peer(): Promise<Peer> {
  const made = await corp('match = ["http://127.0.0.1"]')
  const { auth, at, options } = made
  const bin = join(at.path, 'bin')
  mkdirSync(bin)
  symlinkSync(programFile(), join(bin, 'tokctl'))
  at.write(
    'home/askpass',
    '#!/bin/sh\ncase "$1" in Username*) echo oauth2 ;; *) tokctl get corp ;; esac\n',
    0o700,
  )
  const url = `${auth.url}/api`
  at.writeConfig(readFileSync(at.configFile, 'utf8').replace('http://127.0.0.1"', `${auth.url}"`))
  auth.answerNext({ body: { access_token: token, token_type: 'Bearer', expires_in: 3600 } })
  expect((await run(['get', 'corp'], options)).stdout).toBe(`${token}\n`)
  const env = { ...options.env, PATH: `${bin}:${process.env['PATH']}`, URL: url }
  return {
    ...made,
    url,
    async shell(script) {
      const gate = auth.hold('/api')
      onTestFinished(() => gate.release())
      const { done } = start([], { at, env, program: ['bash', '-c', script], timeoutMs: 60_000 })
      await gate.arrived(1, 40_000)
      const seen = commandLines().filter(line => line.includes(token))
      gate.release()
      const result = await done
      const { headers } = auth.requests.findLast(({ path }) => path === '/api')!
      return { result, authorization: headers.authorization, seen }
    },
  }
}

function commandLines(): string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(pid => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        // It has ended meanwhile.
        return ''
      }
    })
}

const basic = `Basic ${Buffer.from(`oauth2:${token}`).toString('base64')}`

test.each<[script: string, authorization: string]>([
  ['curl -sSf -K <(tokctl get corp -o curl) "$URL"', `Bearer ${token}`],
  ['tokctl get corp -o curl | curl -sSf -K - "$URL"', `Bearer ${token}`],
  ['curl -sSf -H @<(tokctl get corp -o header) "$URL"', `Bearer ${token}`],
  ['tokctl get corp -o header | curl -sSf -H @- "$URL"', `Bearer ${token}`],
  ['curl -sSf --netrc-file <(tokctl get corp -o netrc) "$URL"', basic],
  // wget takes its settings from a regular file alone, so one that nobody else can read.
  [
    `umask 077; file=$(mktemp -p "$HOME"); trap 'rm "$file"' EXIT
     tokctl get corp -o header | sed 's/^/header = /' >"$file"; wget -q -O - --config="$file" "$URL"`,
    `Bearer ${token}`,
  ],
  ['wget -q -O - --auth-no-challenge --use-askpass="$HOME/askpass" "$URL"', basic],
])(
  '%s',
  async (script, authorization) => {
    const { auth, shell } = await peer()
    const found = await shell(script)
    expect(found.result).toMatchObject({ code: 0, stderr: '' })
    expect(found.authorization).toBe(authorization)
    expect(found.seen).toEqual([])
    expect(auth.requests.filter(({ path }) => path === '/token')).toHaveLength(1)
  },
  90_000,
)

test('a token that is an argument is seen, which is why it never is one above', async () => {
  const { shell } = await peer()
  const { seen, authorization } = await shell(
    'curl -sSf -H "Authorization: Bearer $(tokctl get corp)" "$URL"',
  )
  expect(authorization).toBe(`Bearer ${token}`)
  expect(seen).toHaveLength(1)
}, 90_000)
