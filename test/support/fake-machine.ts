import type { Profile } from '../../src/profile/profile.ts'
import type { Change, Machine, Plan, Said, SetupAsk, Tool } from '../../src/setup/setup.ts'

/** A machine of files in memory. Programs are found where `programs` says, and say what `says` makes of their command. */
export interface FakeMachine extends Machine {
  readonly files: Map<string, string>
  /** Carries out the changes of files; gives back those that are programs, and those that edit, as lines. */
  apply(plan: Plan): string[]
}

export function fakeMachine(
  given: Partial<Pick<Machine, 'env' | 'platform' | 'program' | 'isNamed' | 'launchers'>> & {
    files?: Record<string, string>
    programs?: readonly string[]
    says?: (command: readonly string[]) => Partial<Said>
  } = {},
): FakeMachine {
  const {
    files: some = {},
    programs = [],
    says = (_: readonly string[]): Partial<Said> => ({}),
    ...rest
  } = given
  const files = new Map(Object.entries(some))
  const created = new Set<string>()
  const notes = new Set<string>()
  return {
    env: { PATH: '/home/ada/.local/bin:/usr/bin' },
    home: '/home/ada',
    platform: 'linux',
    program: ['/usr/bin/node', '/opt/tokctl/bin/tokctl.js'],
    isNamed: false,
    launchers: '/home/ada/.local/state/tokctl/launchers',
    ...rest,
    files,
    read: path => files.get(path),
    find(name) {
      const isThere = (path: string): boolean => programs.includes(path) || files.has(path)
      if (name.startsWith('/')) return isThere(name) ? name : undefined
      return ['/home/ada/.local/bin', '/usr/bin'].map(each => `${each}/${name}`).find(isThere)
    },
    list: directory =>
      [...files.keys()]
        .filter(path => path.startsWith(`${directory}/`))
        .map(path => path.slice(directory.length + 1)),
    noted: note => notes.has(note),
    edit: async (text, commands) => {
      let said = ''
      for (const command of commands('COPY')) said = says(command).stdout ?? ''
      return { text: `${text}# tokctl\n`, said }
    },
    calls: async () => false,
    run: async command => ({ exitCode: 0, stdout: '', stderr: '', ...says(command) }),
    apply: ({ changes }) =>
      changes.flatMap((change: Change) => {
        if ('run' in change) return [change.run.join(' ')]
        if (files.get(change.file) !== change.before)
          throw new Error(`${change.file}: another text was planned for`)
        for (const note of change.notes ?? []) notes.add(note)
        for (const note of change.unnotes ?? []) notes.delete(note)
        const { file, before, after } = change
        if (before === undefined && change.isOurs !== true) created.add(file)
        const isGone = created.has(file) && after?.includes('tokctl') === false
        if (after === undefined || isGone) files.delete(file)
        else files.set(file, after)
        return change.says.flatMap(line => (line.startsWith('$ ') ? [line.slice(2)] : []))
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
