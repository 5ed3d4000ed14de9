import type { Profile } from '../../src/profile/profile.ts'
import type { Change, Machine, Plan, Said, SetupAsk, Tool } from '../../src/setup/setup.ts'

/** A machine of files in memory. Programs are found where `programs` says, and say what `says` makes of their command. */
export interface FakeMachine extends Machine {
  readonly files: Map<string, string>
  /** Carries out the changes of files; gives back those that are programs, as lines. */
  apply(plan: Plan): string[]
}

export function fakeMachine(
  given: Partial<Pick<Machine, 'env' | 'platform' | 'program'>> & {
    files?: Record<string, string>
    programs?: readonly string[]
    says?: (command: readonly string[]) => Partial<Said>
  } = {},
): FakeMachine {
  const { files: some = {}, programs = [], says = () => ({}), ...rest } = given
  const files = new Map(Object.entries(some))
  return {
    env: { PATH: '/home/ada/.local/bin:/usr/bin' },
    home: '/home/ada',
    platform: 'linux',
    program: ['/usr/bin/node', '/opt/tokctl/bin/tokctl.js'],
    launchers: '/home/ada/.local/state/tokctl/launchers',
    ...rest,
    files,
    read: path => files.get(path),
    find(name) {
      const isThere = (path: string): boolean => programs.includes(path) || files.has(path)
      if (name.startsWith('/')) return isThere(name) ? name : undefined
      return ['/home/ada/.local/bin', '/usr/bin'].map(each => `${each}/${name}`).find(isThere)
    },
    run: async command => ({ exitCode: 0, stdout: '', stderr: '', ...says(command) }),
    apply: ({ changes }) =>
      changes.flatMap((change: Change) => {
        if ('run' in change) return [change.run.join(' ')]
        if (files.get(change.file) !== change.before)
          throw new Error(`${change.file}: another text was planned for`)
        if (change.after === undefined) files.delete(change.file)
        else files.set(change.file, change.after)
        return []
      }),
  }
}

/** A profile that matches these URLs. */
export function matching(name: string, ...match: string[]): Profile {
  return { name, match, binding: 'b', source: 'static', token: { env: 'T' } }
}

/** An ask for all these profiles, or for the one that is named. */
export function asked(given: Partial<SetupAsk> = {}): SetupAsk {
  const { profile } = given
  return {
    remove: false,
    profile,
    profiles: profile === undefined ? [] : [profile],
    as: undefined,
    audience: undefined,
    store: false,
    ...given,
  }
}

/** Plans and carries out. @returns The programs that were run. */
export async function setUp(tool: Tool, machine: FakeMachine, ask: SetupAsk): Promise<string[]> {
  return machine.apply(await tool.plan(ask, machine))
}
