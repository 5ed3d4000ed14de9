import { expect, test } from 'vitest'
import { childEnvironment, withoutVariables, withVariables } from '../../src/core/program.ts'
import type { Profile } from '../../src/profile/profile.ts'
import { withheldFrom } from '../../src/profile/secret-variables.ts'

// What programs that we start get of our environment, on systems where a variable's name has letter case and on Windows,
// where it has none.

const env = {
  Corp_Secret: 'a',
  CORP_SECRET: 'b',
  Path: '/bin',
  Tokctl_Store_Key: 'k',
  Node_Options: '--inspect',
}

function profile(name: string, variable: string): Profile {
  return { name, source: 'static', token: { env: variable }, match: [], binding: '' }
}

test.each([
  ['linux', { Corp_Secret: 'a', Path: '/bin' }],
  ['darwin', { Corp_Secret: 'a', Path: '/bin' }],
  ['win32', { Path: '/bin' }],
] as const)('on %s a program is started without the secrets of others', (platform, want) => {
  const withheld = withheldFrom(undefined, [profile('corp', 'CORP_SECRET')], platform)
  expect(childEnvironment({ env, platform }, withheld)).toEqual(want)
  const all = { ...want, Tokctl_Store_Key: 'k', Node_Options: '--inspect' }
  expect(withoutVariables({ env, platform }, withheld)).toEqual(all)
})

test.each([
  ['linux', ['CORP_SECRET']],
  ['win32', []],
] as const)(
  'on %s what a profile needs itself is not another variable for its spelling',
  (platform, want) => {
    const [own, other] = [profile('own', 'Corp_Secret'), profile('other', 'CORP_SECRET')]
    expect([...withheldFrom(own, [own, other], platform)]).toEqual(want)
  },
)

test.each([
  ['linux', { Token: 'old', Path: '/bin', TOKEN: 'new' }],
  ['win32', { Path: '/bin', TOKEN: 'new' }],
] as const)(
  'on %s a variable that is added takes the place of what the child would take it for',
  (platform, want) => {
    expect(withVariables({ Token: 'old', Path: '/bin' }, { TOKEN: 'new' }, platform)).toEqual(want)
  },
)

test('NODE_OPTIONS that open no debugger stay', () => {
  const kept = { NODE_OPTIONS: '--max-old-space-size=64' }
  expect(childEnvironment({ env: kept, platform: 'linux' })).toEqual(kept)
})
