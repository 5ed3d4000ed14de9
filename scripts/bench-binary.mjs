// The rows of `npm run bench` for the program as one file, beside the C and Go programs that do the same, in the same run.
import { spawnSync } from 'node:child_process'
import { cpSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const file = join(dirname(dirname(fileURLToPath(import.meta.url))), 'dist', 'bin', 'tokctl')
const gitSources = '/usr/share/doc/git/contrib/credential/libsecret'
const slowMs = 500

/** Told under the table of a row that is not reached. */
export const binaryCauses = {
  oneFile:
    'The one file, in milliseconds of processor: the runtime alone 6.3 of 11.5 (`secret-tool` 9.0, on the same busy machine), `node:fs` 1.0, ours 2.2; the file store wants WebCrypto (0.8), the Secret Service a conversation of 2.0. The bus and the keyring take 1.7 for it and 5.7 for `secret-tool`. CONTRIBUTING has what was tried, and the next step.',
}

/** Adds the rows; `bench` has what all rows are taken with. */
export async function addBinary(bench) {
  const { add, skip, newHome, server, keyring, scratch, pairs, run, peakMemory, isInstalled } = bench
  const cause = { cause: 'oneFile' }
  const named = name => `one file: ${name}`
  const plain = newHome('one-file', server, 'file', {}, 120, [file])
  await server.answer({ lifeS: 3600, afterMs: 0 })
  await run(plain.get('p0'))
  add(
    named('hit, file store ÷ `node -e 0`'),
    undefined,
    await pairs(40, bench.idleIn(plain), plain.get('p0')),
  )

  const rows = {
    keychain: [named('hit, Secret Service ÷ `secret-tool lookup`'), 1],
    file: [named('hit, file store ÷ `secret-tool lookup`'), 0.7],
    crowd: n => [named(`${n} hits at once, Secret Service ÷ as many \`secret-tool lookup\``), 1.1],
    git: [named('`git-credential-tokctl get`, hit, Secret Service ÷ `git-credential-libsecret get`'), 1],
    docker: [
      named('`docker-credential-tokctl get`, hit, Secret Service ÷ `docker-credential-secretservice get`'),
      1,
    ],
  }
  if (typeof keyring === 'string') {
    for (const row of [rows.keychain, rows.file, rows.crowd(50), rows.crowd(200), rows.git, rows.docker]) {
      skip(...row, keyring)
    }
  } else {
    const kept = newHome('one-file-kept', server, 'keychain', keyring.env, 120, [file])
    await run(kept.get('p0'))
    const lookup = {
      command: ['secret-tool', 'lookup', 'service', 'tokctl', 'account', 'p0'],
      env: keyring.env,
    }
    add(...rows.keychain, await pairs(60, lookup, kept.get('p0')), cause)
    add(...rows.file, await pairs(60, lookup, plain.get('p0')), cause)
    const asked = 'protocol=https\nhost=p0.example.com\nusername=oauth2\n'
    const git = gitHelper(scratch)
    if (git.missing !== undefined) skip(...rows.git, git.missing)
    else {
      const env = kept.env
      await run({ command: [git.file, 'store'], env, input: `${asked}password=hush\n` })
      const ours = [join(dirname(file), 'git-credential-tokctl'), 'get']
      await run({ command: ours, env, input: asked })
      add(
        ...rows.git,
        await pairs(
          40,
          { command: [git.file, 'get'], env, input: asked },
          { command: ours, env, input: asked },
        ),
        cause,
      )
    }
    if (!isInstalled('docker-credential-secretservice')) {
      skip(...rows.docker, 'docker-credential-secretservice is not installed')
    } else {
      const env = kept.env
      const theirs = word => ['docker-credential-secretservice', word]
      const item = { ServerURL: 'https://p0.example.com', Username: 'oauth2', Secret: 'hush' }
      await run({ command: theirs('store'), env, input: JSON.stringify(item) })
      const ours = [join(dirname(file), 'docker-credential-tokctl'), 'get']
      const input = item.ServerURL
      add(
        ...rows.docker,
        await pairs(40, { command: theirs('get'), env, input }, { command: ours, env, input }),
        cause,
      )
    }
    for (const [n, rounds] of [
      [50, 9],
      [200, 5],
    ]) {
      const together = call => () => bench.together(call, n)
      try {
        add(
          ...rows.crowd(n),
          await pairs(rounds, together(lookup), together(kept.get('p0')), ms => ms),
          cause,
        )
      } catch (error) {
        skip(...rows.crowd(n), `a process of the crowd failed: ${error.message.trim().split('\n')[0]}`)
      }
    }
  }

  const post = {
    command: [
      ...['curl', '--silent', '--show-error', '--fail', '--user', 'p0:hush'],
      ...['--data', 'grant_type=client_credentials&scope=api.read+api.write', server.url],
    ],
    env: { PATH: process.env.PATH, HOME: scratch },
  }
  const cold = [named('cold, one request to loopback ÷ `curl` making the same'), 2]
  let fresh = 1
  if (isInstalled('curl')) add(...cold, await pairs(40, post, () => plain.get(`p${fresh++}`)), cause)
  else skip(...cold, 'curl is not installed')

  add(
    named(`50 at once, expired, server answers after ${slowMs} ms: wall − ${slowMs} ms ÷ 50 hits at once`),
    1.3,
    (await bench.crowds(5, server, plain, 50, slowMs)).map(({ base, value }) => ({
      base,
      value: value - slowMs,
    })),
    cause,
  )
  if (isInstalled('time')) {
    add(
      named('peak memory of a hit ÷ `node -e 0`'),
      undefined,
      await pairs(11, bench.idleIn(plain), plain.get('p0'), peakMemory),
      { unit: 'MB' },
    )
  }
}

/** git's own helper for the Secret Service, which Debian brings as its source. */
function gitHelper(scratch) {
  const to = join(scratch, 'git-credential-libsecret')
  try {
    cpSync(gitSources, to, { recursive: true })
  } catch {
    return { missing: 'git brings no source of git-credential-libsecret here' }
  }
  const { status } = spawnSync('make', ['-C', to], { stdio: 'ignore' })
  if (status !== 0)
    return { missing: 'git-credential-libsecret cannot be compiled here: it wants libsecret-1-dev' }
  return { file: join(to, 'git-credential-libsecret') }
}
