import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { protocols } from '../../src/protocol/protocols.ts'
import { type Corp, clientProfile, corp } from '../support/corp.ts'
import { program, type RunOptions, type RunResult, run } from '../support/run.ts'

// What holds for every protocol: no prompt, no browser, no word on stderr where all is well; LF alone and no byte order
// mark; control characters refused in both directions; lines of any length.

/** One question, as the tool asks it. */
interface Question {
  readonly args: readonly string[]
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
}

/** How an answer is told: exit code, and stdout; stderr is empty with code 0, and where it says so. */
interface Told {
  readonly code: number
  readonly stdout: string | RegExp
  readonly stderr?: ''
}

interface Row {
  readonly name: string
  /** Asks for the token of a host, or of a profile where the protocol names one. */
  readonly ask: (name: string) => Question
  /** What stands in `ask` for the one that has a token. */
  readonly ours: string
  readonly answer: string
  /** Asks the same with a line of a mebibyte in it; absent where nothing but our arguments is read. */
  readonly long?: (name: string) => Question
  /** To a name that no profile can have. */
  readonly refused: Told
  /** To a token that no protocol can carry, and to a profile that needs a person. */
  readonly failed: (code: number) => Told
}

const host = 'tool.example.com'
const url = `https://${host}/`
const long = 'x'.repeat(1 << 20)
const json = JSON.stringify
const onStderr = (code: number): Told => ({ code, stdout: '' })
const unknownProfile: Told = { code: 3, stdout: '' }
const silence: Told = { code: 0, stdout: '' }

const rows: readonly Row[] = [
  {
    name: 'git',
    ask: name => ({ args: ['git', 'get'], input: `protocol=https\nhost=${name}\n` }),
    ours: host,
    answer: 'username=oauth2\npassword=token-1\n',
    long: name => ({
      args: ['git', 'get'],
      input: `protocol=https\nwwwauth[]=Basic ${long}\nhost=${name}\n`,
    }),
    refused: silence,
    failed: onStderr,
  },
  {
    name: 'git --store',
    ask: name => ({ args: ['git', '--store', 'get'], input: `protocol=https\nhost=${name}\n` }),
    ours: host,
    answer: 'username=oauth2\npassword=token-1\n',
    long: name => ({
      args: ['git', '--store', 'get'],
      input: `wwwauth[]=${long}\nprotocol=https\nhost=${name}\n`,
    }),
    refused: silence,
    failed: onStderr,
  },
  {
    name: 'docker',
    ask: name => ({ args: ['docker', 'get'], input: name }),
    ours: host,
    answer: `{"ServerURL":"${host}","Username":"oauth2","Secret":"token-1"}\n`,
    long: name => ({ args: ['docker', 'get'], input: `${name}${' '.repeat(1 << 20)}` }),
    refused: { code: 1, stdout: 'credentials not found in native keychain\n', stderr: '' },
    failed: () => ({ code: 1, stdout: /^tokctl: .+\n$/, stderr: '' }),
  },
  {
    name: 'kubectl',
    ask: name => ({ args: ['kubectl', name], env: execInfo({}) }),
    ours: 'corp',
    answer:
      '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"token-1"}}\n',
    // Linux passes no variable that is longer than 128 KiB.
    long: name => ({ args: ['kubectl', name], env: execInfo({ config: long.slice(0, 100_000) }) }),
    refused: unknownProfile,
    failed: onStderr,
  },
  {
    name: 'gcp',
    ask: name => ({ args: ['gcp', name] }),
    ours: 'corp',
    answer:
      '{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:id_token","id_token":"token-1"}\n',
    refused: { code: 0, stdout: /^\{"version":1,"success":false,"code":"unknown_profile","message":".*\n$/ },
    failed: () => ({
      code: 0,
      stdout: /^\{"version":1,"success":false,"code":"(?:invalid_response|login_required)","message":".*\n$/,
    }),
  },
  {
    name: 'bazel',
    ask: name => ({ args: ['bazel', 'get'], input: json({ uri: `https://${name}/` }) }),
    ours: host,
    answer: '{"headers":{"Authorization":["Bearer token-1"]}}\n',
    long: name => ({ args: ['bazel', 'get'], input: json({ future: long, uri: `https://${name}/` }) }),
    refused: { code: 0, stdout: '{}\n' },
    failed: onStderr,
  },
  {
    name: 'cargo',
    ask: name => ({
      args: ['cargo', '--cargo-plugin'],
      input: cargo({ 'index-url': `sparse+https://${name}/` }),
    }),
    ours: host,
    answer:
      '{"v":[1]}\n{"Ok":{"kind":"get","token":"Bearer token-1","cache":"session","operation_independent":true}}\n',
    long: name => ({
      args: ['cargo', '--cargo-plugin'],
      input: cargo({ headers: [`WWW-Authenticate: ${long}`], 'index-url': `sparse+https://${name}/` }),
    }),
    refused: { code: 0, stdout: '{"v":[1]}\n{"Err":{"kind":"not-found"}}\n' },
    failed: () => ({ code: 0, stdout: /^\{"v":\[1\]\}\n\{"Err":\{"kind":"other","message":".*\n$/ }),
  },
  {
    name: 'cargo:token-from-stdout',
    ask: name => ({ args: ['cargo', 'get'], env: { CARGO_REGISTRY_INDEX_URL: `sparse+https://${name}/` } }),
    ours: host,
    answer: 'Bearer token-1\n',
    refused: onStderr(2),
    failed: onStderr,
  },
  {
    name: 'terraform',
    ask: name => ({ args: ['terraform', 'get', name] }),
    ours: host,
    answer: '{"token":"token-1"}\n',
    refused: onStderr(2),
    failed: onStderr,
  },
  {
    name: 'goauth',
    ask: name => ({ args: ['goauth', `https://${name}/`], input: 'HTTP/1.1 401 Unauthorized\n\n' }),
    ours: host,
    answer: `${url}\nhttps://${host}\n\nAuthorization: Bearer token-1\n\n`,
    long: name => ({
      args: ['goauth', `https://${name}/`],
      input: `HTTP/1.1 401 Unauthorized\nX: ${long}\n\n`,
    }),
    refused: onStderr(2),
    failed: onStderr,
  },
  {
    name: 'keyring',
    ask: name => ({ args: ['keyring', 'get', `https://${name}/simple/`, 'user'] }),
    ours: host,
    answer: 'token-1\n',
    refused: { code: 1, stdout: '', stderr: '' },
    failed: onStderr,
  },
  {
    name: 'pnpm',
    ask: name => ({ args: ['pnpm', name] }),
    ours: 'corp',
    answer: 'Bearer token-1\n',
    refused: unknownProfile,
    failed: onStderr,
  },
  {
    name: 'vault',
    ask: name => ({ args: ['vault', 'get'], env: { VAULT_ADDR: `https://${name}` } }),
    ours: host,
    answer: 'token-1',
    refused: silence,
    failed: onStderr,
  },
]

/** A terminal may be asked, says kubectl; it is not all the same. */
function execInfo(cluster: object): Record<string, string> {
  const apiVersion = 'client.authentication.k8s.io/v1'
  return {
    KUBERNETES_EXEC_INFO: json({ apiVersion, kind: 'ExecCredential', spec: { interactive: true, cluster } }),
  }
}

function cargo(registry: object): string {
  return `${json({ v: 1, registry, kind: 'get', operation: 'read' })}\n`
}

/** Keys in the place of a token, so its answers are another's; what is refused is the same. */
const aws: Omit<Row, 'answer' | 'long'> = {
  name: 'aws',
  ask: name => ({ args: ['aws', name] }),
  ours: 'corp',
  refused: unknownProfile,
  failed: onStderr,
}

const matching = `match = ["${url}"]`

function put({ args, input = '', env = {} }: Question, { at, env: own }: RunOptions): Promise<RunResult> {
  return run(['helper', ...args], { at: at!, env: { ...own, ...env }, input, timeoutMs: 60_000 })
}

function expectTold({ code, stdout, stderr }: RunResult, told: Told): void {
  expect(code).toBe(told.code)
  if (typeof told.stdout === 'string') expect(stdout).toBe(told.stdout)
  else expect(stdout).toMatch(told.stdout)
  if (told.stderr === '' || told.code === 0) expect(stderr).toBe('')
  else expect(stderr).toMatch(/^tokctl: error: [^\n]+\n(?:tokctl: hint: [^\n]+\n)?$/)
}

test('every protocol is in this table', () => {
  const named = new Set([...rows, aws].map(row => row.ask('x').args[0]))
  expect([...named].sort()).toEqual(Object.keys(protocols).sort())
})

async function lasting(): Promise<Corp> {
  const made = await corp(matching)
  made.auth.expiresIn = undefined
  return made
}

test.each(rows)(
  '$name answers with nothing on stderr, lines that end with LF, and no byte order mark',
  async row => {
    const { options } = await lasting()
    const { code, stdout, stderr, stdoutBytes } = await put(row.ask(row.ours), options)
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: row.answer, stderr: '' })
    expect(stdoutBytes.filter(byte => (byte < 0x20 && byte !== 0x0a) || byte > 0x7e)).toHaveLength(0)
  },
)

test.each(rows.filter(row => row.long !== undefined))(
  '$name takes a line as long as can be sent, a mebibyte on stdin',
  async row => {
    const { options } = await lasting()
    expect(await put(row.long!(row.ours), options)).toMatchObject({ code: 0, stdout: row.answer, stderr: '' })
  },
)

/** Where no argument and no variable can carry it, it is no case. */
const forbidden: [name: string, wrong: string][] = [
  ['a CR', `\r${host}`],
  ['a CR that hides a name', `${host}\rhost=x`],
  ['a NUL', `${host}\0`],
  ['an escape', `${host}\u001b[2J`],
  ['a byte order mark', `\ufeff${host}`],
  ['another control character', `${host}\u0085`],
  ['a line separator', `${host}\u2028`],
]

describe.each([...rows, aws])('$name refuses', row => {
  const possible = forbidden.filter(([, wrong]) => {
    const { args, env = {} } = row.ask(wrong)
    return ![...args, ...Object.values(env)].some(text => text.includes('\0'))
  })
  test.each(possible)('%s in what it is asked, without a request', async (_, wrong) => {
    const { auth, options } = await corp(matching)
    expectTold(await put(row.ask(wrong), options), row.refused)
    expect(auth.count()).toBe(0)
  })

  test('a token that would break its line', async () => {
    const { auth, options } = await corp(matching)
    auth.answerNext({ body: { access_token: 'broken\r\ntoken', token_type: 'Bearer' } })
    const told = await put(row.ask(row.ours), options)
    expectTold(told, row.failed(6))
    expect(told.stdout + told.stderr).not.toContain('broken')
  })

  test('to bring in a person: no prompt and no browser, not even on a terminal', async () => {
    const { auth, at, options } = await corp()
    const marker = at.write('browser', `#!/bin/sh\necho "$0 $*" >>"${at.path}/opened"\n`, 0o700)
    at.writeConfig(
      clientProfile(
        'corp',
        auth.tokenEndpoint,
        `authorization_endpoint = "${auth.url}/authorize"\n${matching}`,
      )
        .replace('client_credentials', 'authorization_code')
        .replace(/client_secret = .*\n/, ''),
    )
    const { args, input = '', env = {} } = row.ask(row.ours)
    const words = [...program, 'helper', ...args].map(word => `'${word}'`).join(' ')
    const question = at.write('question', input)
    const [out, err] = [at.write('out', ''), at.write('err', '')]
    // stdin is a terminal where the protocol sends nothing, and there is one to open in any case.
    const from = input === '' ? '' : `<'${question}'`
    const { code, stdout } = await run(['-qefc', `${words} ${from} >'${out}' 2>'${err}'`, '/dev/null'], {
      ...options,
      env: { ...options.env, ...env, BROWSER: marker, DISPLAY: ':0', TERM: 'xterm' },
      program: ['script'],
      keepInput: true,
    })
    // What it wrote to the terminal.
    expect(stdout).toBe('')
    expect(existsSync(`${at.path}/opened`)).toBe(false)
    expect(auth.requests).toEqual([])
    const [told, said] = [readFileSync(out, 'utf8'), readFileSync(err, 'utf8')]
    expectTold({ code, stdout: told, stderr: said } as RunResult, row.failed(4))
    expect(told + said).toContain('tokctl login corp')
  })
})
