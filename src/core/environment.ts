/** What the process was given: read once in `cli/io.ts`, handed down, so that nothing else asks `process`. */
export interface Environment {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly platform: NodeJS.Platform
  readonly arch: string
  readonly pid: number
  /** The effective user; `undefined` on Windows. */
  readonly uid: number | undefined
  readonly cwd: string
  /** The user's home directory, absolute; empty where none is known. */
  readonly home: string
  /** The program and script of this very process, to start another one like it. */
  readonly self: readonly string[]
}
