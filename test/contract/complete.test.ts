import { join } from 'node:path'
import { expect, test } from 'vitest'
import { clientProfile } from '../support/corp.ts'
import { program, run, scratch } from '../support/run.ts'

// What the scripts in completions/ ask. It runs at each press of a key, in the middle of a half-written line.

const nowhere = 'http://127.0.0.1:9/token'

test('the names of the profiles are told, one a line, in their order', async () => {
  const at = scratch()
  at.writeConfig(
    ['b', 'a', 'c.d'].map(name => clientProfile(name, nowhere).replace('c.d', '"c.d"')).join('\n'),
  )
  const other = at.write('other.toml', clientProfile('elsewhere', nowhere))
  // Once from the configuration itself, and once from its compiled copy.
  for (let i = 0; i < 2; i++) {
    expect(await run(['__complete', 'profiles'], { at })).toMatchObject({
      code: 0,
      stdout: 'b\na\nc.d\n',
      stderr: '',
    })
  }
  // What the proxy can serve has names of its own.
  at.write(
    'routes.toml',
    `${clientProfile('a', nowhere)}[proxy.r]\nprofile = "a"\nlisten = "127.0.0.1:0"\nupstream = "https://b.example.com"\n`,
  )
  const routes = await run(['__complete', 'routes', '--config', join(at.path, 'routes.toml')], { at })
  expect(routes).toMatchObject({ code: 0, stdout: 'a\nr\n', stderr: '' })
  const named = await run(['__complete', 'profiles', '--config', other], { at })
  expect(named).toMatchObject({ code: 0, stdout: 'elsewhere\n', stderr: '' })
})

test.each([
  ['no configuration', [], undefined],
  ['a broken one', [], '[profile.'],
  ['an unknown question', ['more'], ''],
  ['no question', [], ''],
])('%s: nothing, without a word', async (_, words, config) => {
  const at = scratch()
  if (config !== undefined) at.writeConfig(config)
  const args = words.length === 0 && config === '' ? [] : ['profiles', ...words]
  expect(await run(['__complete', ...args], { at })).toMatchObject({ code: 0, stdout: '', stderr: '' })
})

test('it loads neither commander nor the network, nor the TOML parser where the configuration is known', async () => {
  const at = scratch()
  at.writeConfig(clientProfile('corp', nowhere))
  await run(['__complete', 'profiles'], { at })
  const probe = at.write(
    'probe.cjs',
    `process.on('exit', () => process._rawDebug(JSON.stringify([process.moduleLoadList.filter(n => /NativeModule (https?|net|tls|child_process|crypto)$/.test(n)), Object.keys(require(process.argv[1]).modules)])))`,
  )
  const { stdout, stderr } = await run(['__complete', 'profiles'], {
    at,
    program: [program[0]!, '--require', probe, ...program.slice(1)],
  })
  expect(stdout).toBe('corp\n')
  const [native, chunks] = JSON.parse(stderr) as [string[], string[]]
  expect(native).toEqual([])
  expect(chunks.filter(name => /program|parse|validate|get-/.test(name))).toEqual([])
})
