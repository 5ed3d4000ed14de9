import type { Environment } from '../core/environment.ts'
import type { Profile } from '../profile/profile.ts'

// What `tokctl setup` would change, worked out before anything is. Rules:
//  - A planner looks and writes nothing; what it looks at comes through the machine that it is given.
//  - What somebody else wrote is never replaced: a helper of another program in our place is an error that names it.
//  - So taking ours away is all there is to restoring, however much was edited in between.
//  - A file is edited as text: what is not ours stays byte for byte, comments, order and line ends included.
//  - Whatever is written has our name in it, so that a text without it has nothing of ours.

/** What a planner may look at. */
export interface Machine extends Pick<Environment, 'env' | 'home' | 'platform'> {
  /** The words that start this program, whole paths; the configuration that was named among them. */
  readonly program: readonly string[]
  /** A configuration or a state directory was named, and stands among these words. */
  readonly isNamed: boolean
  /** The directory of launchers. Absolute. */
  readonly launchers: string
  /**
   * Reads a text file.
   *
   * @returns `undefined` where there is none.
   * @throws {TokctlError} `config_invalid` for what cannot be read or is no text
   */
  read(path: string): string | undefined
  /** The names of what is in a directory; none where it cannot be read. */
  list(directory: string): readonly string[]
  /** Whether a planner left that note when it set something up, and has not taken it back. */
  noted(note: string): boolean
  /**
   * Lets a program change a copy of a text: its own means, without its file being touched.
   *
   * @param commands - For the path of the copy.
   * @returns The text, and what the last command said.
   * @throws {TokctlError} `command_failed` where one fails
   */
  edit(
    text: string,
    commands: (copy: string) => readonly (readonly string[])[],
  ): Promise<{ readonly text: string; readonly said: string }>
  /** Looks a program up on `PATH`. @returns Its whole path. */
  find(program: string): string | undefined
  /**
   * Runs a program that changes nothing.
   *
   * @throws {TokctlError} `command_failed` when it cannot be started or does not end
   */
  run(
    command: readonly string[],
    given?: { readonly input?: string; readonly env?: Readonly<Record<string, string>> },
  ): Promise<Said>
  /**
   * Runs a program that is to call a port of this machine, and ends it when it does. Whoever calls is hung up on before a word
   * is said, so that over TLS nothing was sent.
   *
   * @param call - Of the port, and of the path of a file that has `text` meanwhile, for this user alone.
   * @returns Whether it called.
   * @throws {TokctlError} `command_failed` as `run`
   */
  calls(
    call: (
      port: number,
      file: string,
    ) => {
      readonly text: string
      readonly command: readonly string[]
      readonly env: Readonly<Record<string, string>>
    },
  ): Promise<boolean>
}

/** What a program said. Its stdout may hold a secret. */
export interface Said {
  readonly exitCode: number | undefined
  readonly stdout: string
  readonly stderr: string
}

/** What is asked of a planner. */
export interface SetupAsk {
  /** Take it back. */
  readonly remove: boolean
  /** Named on the command line. */
  readonly profile: Profile | undefined
  /** Those that are meant: the named one, else all. */
  readonly profiles: readonly Profile[]
  /** What the entry is called in the tool's configuration, where it is not the name of the profile. */
  readonly as: string | undefined
  /** Of the identity provider, for gcp. */
  readonly audience: string | undefined
  /** For git: as its only helper, which keeps what no profile matches. */
  readonly store: boolean
}

/** One thing that would be done. */
export type Change = FileChange | ProgramChange

interface Noted {
  /** What this planner wants to know when it takes the change back. */
  readonly notes?: readonly string[]
  /** Notes that are over. */
  readonly unnotes?: readonly string[]
}

/** A file that would be written. */
export interface FileChange extends Noted {
  readonly file: string
  /** As it was read; `undefined` for a file that is not there. */
  readonly before: string | undefined
  /** `undefined`: the file goes. */
  readonly after: string | undefined
  /** The whole file is ours: it is replaced and removed as such, without a backup. */
  readonly isOurs?: boolean
  /** Of a file that is new, or ours; 0600 where it is not set. */
  readonly mode?: number
  /** For people, one line each; never anything else that stands in the file, which may be a secret. */
  readonly says: readonly string[]
}

/** A program that would be run: the tool's own means. */
export interface ProgramChange extends Noted {
  readonly run: readonly string[]
  /** Files that it rewrites. */
  readonly rewrites: readonly string[]
}

/** The name of the copy of a file, as it was before there was anything of ours in it. */
export function backupPath(file: string): string {
  return `${file}.tokctl-backup`
}

/** What would be done, in this order. */
export interface Plan {
  readonly changes: readonly Change[]
  /** What is left for the person to do, one line each. */
  readonly next?: readonly string[]
  /** Why the tool asks us even where nothing of ours is to be taken away. */
  readonly stays?: string | undefined
}

/** Another program that can be set up. */
export interface Tool {
  /** For people: what is written, one line. */
  readonly about: string
  /** Any of them on `PATH` says that it is installed. */
  readonly programs: readonly string[]
  /** Its configuration names one profile, so that one has to be named. */
  readonly takesProfile: boolean
  /** @throws {TokctlError} `config_invalid`, `usage`, `command_failed` */
  plan(ask: SetupAsk, machine: Machine): Promise<Plan>
  /**
   * What `probe` asks: the tool itself, or the command that its configuration has, as the tool would run it. The latter where
   * the tool can only be asked with a server that it would send the token to.
   */
  readonly asked: 'tool' | 'command'
  /**
   * Asks as the tool is set up now; changes nothing, and no token goes to any server.
   *
   * @returns Whether the answer is ours; `undefined` where there is nothing to ask for.
   * @throws {TokctlError} `command_failed`, `config_invalid`, `usage`
   */
  probe(profiles: readonly Profile[], machine: Machine): Promise<boolean | undefined>
}
