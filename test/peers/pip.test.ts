import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { describeClient, installPrograms } from '../support/client.ts'
import { type Corp, clientProfile, corp } from '../support/corp.ts'
import { type RunOptions, type RunResult, run, type Scratch } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// pip with a `keyring` of two lines on the PATH, and an index on loopback that lets nobody in without a password.

vi.setConfig({ testTimeout: 150_000 })

const keyring = '#!/bin/sh\nexec tokctl helper keyring "$@"\n'

interface Peer extends Corp {
  readonly index: Service
  /** Downloads a package, by an index URL that names a user or does not. */
  pip(user: string | undefined, more?: Partial<RunOptions> & { byHand?: boolean }): Promise<RunResult>
}

async function peer(pipPath: string): Promise<Peer> {
  const made = await corp()
  const { at, options } = made
  const wheel = makeWheel(at)
  const index = await startService({
    page: ({ path }) => {
      if (path === `/files/${wheelName}`) return { body: wheel }
      if (path !== '/simple/parcel/') return undefined
      const body = `<!DOCTYPE html><a href="/files/${wheelName}">${wheelName}</a>`
      return { headers: { 'content-type': 'text/html' }, body }
    },
  })
  onTestFinished(() => index.close())
  at.writeConfig(clientProfile('corp', made.auth.tokenEndpoint, `match = ["${index.url}"]`))
  const { path } = installPrograms(at)
  at.write('bin/keyring', keyring, 0o700)
  const env = { ...options.env, PATH: path, PIP_CONFIG_FILE: '/dev/null', PIP_DISABLE_PIP_VERSION_CHECK: '1' }
  const words = ['download', '--quiet', '--no-deps', '--no-input', '--no-cache-dir']
  return {
    ...made,
    index,
    pip: (user, { byHand = true, ...more } = {}) => {
      const url = `${user === undefined ? index.url : index.url.replace('//', `//${user}@`)}/simple/`
      const provider = byHand ? ['--keyring-provider=subprocess'] : []
      const args = [...words, ...provider, '--index-url', url, 'parcel']
      const all = { ...env, ...more.env }
      return run(args, { ...options, program: [pipPath], timeoutMs: 100_000, ...more, env: all })
    },
  }
}

const wheelName = 'parcel-1.0-py3-none-any.whl'

function makeWheel(at: Scratch): Buffer {
  const info = 'wheel/parcel-1.0.dist-info'
  at.write(`${info}/METADATA`, 'Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n')
  at.write(`${info}/WHEEL`, 'Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
  at.write(`${info}/RECORD`, '')
  const file = join(at.path, wheelName)
  execFileSync('python3', ['-m', 'zipfile', '-c', file, join(at.path, info)])
  return readFileSync(file)
}

test('the two lines answer as keyring does: the password, or nothing and exit 1', async () => {
  const { at, options } = await corp('match = ["https://index.example.com"]')
  const { path } = installPrograms(at)
  const program = [at.write('bin/keyring', keyring, 0o700)]
  const ours = { ...options, program, env: { ...options.env, PATH: path } }
  const get = (service: string) => run(['get', service, 'me'], ours)
  expect(await get('https://index.example.com/simple/')).toMatchObject({
    code: 0,
    stdout: 'token-1\n',
    stderr: '',
  })
  expect(await get('index.example.com')).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  expect(await get('other.example.com')).toMatchObject({ code: 1, stdout: '', stderr: '' })
})

describeClient({ command: 'pip', atLeast: [23, 1] }, ({ path }) => {
  const silent = { code: 0, stdout: '', stderr: '' }

  test('the index gets the token as the password of the user in its URL, and the next run asks nobody for it', async () => {
    const { auth, index, pip } = await peer(path)
    expect(await pip('me')).toMatchObject(silent)
    expect(index.requests.map(({ path, authorization }) => `${path} ${authorization}`)).toEqual([
      '/simple/parcel/ Basic me:',
      '/simple/parcel/ Basic me:token-1',
      `/files/${wheelName} Basic me:token-1`,
    ])
    expect(await pip('me')).toMatchObject(silent)
    expect(auth.count()).toBe(1)
  })

  test('`tokctl setup pip` is all that it takes', async () => {
    const { at, index, pip } = await peer(path)
    rmSync(join(at.path, 'bin', 'keyring'))
    const local = join(at.home, '.local', 'bin')
    const env = {
      PATH: `${local}:${join(at.path, 'bin')}:${process.env['PATH']}`,
      PIP_CONFIG_FILE: undefined,
    }
    expect(await run(['setup', 'pip'], { at, env })).toMatchObject({ code: 0, stderr: '' })
    expect(await pip('me', { env, byHand: false })).toMatchObject(silent)
    expect(index.credentials()).toEqual(['Basic me:', 'Basic me:token-1'])
  })

  test('an index URL without a user: pip does not ask us', async () => {
    const { auth, index, pip } = await peer(path)
    expect(await pip(undefined)).toMatchObject({ code: 1 })
    expect(index.credentials()).toEqual([undefined])
    expect(auth.count()).toBe(0)
  })

  test('an index that no profile matches gets no token', async () => {
    const { auth, at, index, pip } = await peer(path)
    at.writeConfig(clientProfile('corp', auth.tokenEndpoint, 'match = ["https://other.example.com"]'))
    expect(await pip('me')).toMatchObject({ code: 1 })
    expect(index.credentials()).toEqual(['Basic me:'])
    expect(auth.count()).toBe(0)
  })

  test('a failure is shown with its hint, and the index gets no token', async () => {
    const { auth, index, pip } = await peer(path)
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const { code, stderr } = await pip('me')
    expect(code).toBe(1)
    expect(stderr).toMatch(/^tokctl: error: token endpoint \S+ answered 401 \(invalid_client\)$/m)
    expect(stderr).toMatch(/^tokctl: hint: /m)
    expect(index.credentials()).toEqual(['Basic me:'])
  })

  // pip tells no keyring that a password was refused.
  test('a token that was refused is offered again until `reject`', async () => {
    const { auth, index, pip, options } = await peer(path)
    await pip('me')
    index.refused.add('token-1')
    expect(await pip('me')).toMatchObject({ code: 1 })
    await run(['reject', 'corp'], { ...options, input: 'token-1\n' })
    expect(await pip('me')).toMatchObject({ code: 0 })
    expect(auth.count()).toBe(2)
  })
})
