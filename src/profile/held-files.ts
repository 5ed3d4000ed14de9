import { realpathSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { readRegularFile } from '../core/read-file.ts'
import type { Profile } from './profile.ts'
import { references } from './project.ts'

// What a project's file names and the project itself brings: whoever writes the one writes the other. Rules:
//  - Where a path in the project leads is held to what was shown, so that no link can be turned to another place later.
//  - Of what runs, and of what says where secrets go (authorities, key files), the very bytes are held too.
//  - A secret's own bytes are not: they may be renewed, and are sent where they were going anyway.
//  - What lies elsewhere is its owner's, and no project's to turn.

/** A file of a project as it was shown. */
export interface HeldFile {
  /** As it is named. Absolute. */
  readonly path: string
  /** Where that led, links resolved. */
  readonly real: string
  /** SHA-256 (hex) of its bytes, or why there were none; `undefined` where they do not matter. */
  readonly bytes?: string
}

/**
 * Finds the files that these profiles of a project need from the project itself, each once, as they are now.
 *
 * @param identity - Of a path; equal for two that the system takes for one.
 */
export async function heldFiles(
  file: string,
  profiles: Iterable<Profile>,
  identity: Identity = identityOf,
): Promise<HeldFile[]> {
  const project = realPath(dirname(file))
  const held = new Map<string, HeldFile>()
  const hold = async (path: string, withBytes: boolean): Promise<void> => {
    if (!isWithin(path, project, identity) || held.get(path)?.bytes !== undefined) return
    held.set(
      path,
      withBytes ? { path, real: realPath(path), bytes: await digest(path) } : { path, real: realPath(path) },
    )
  }
  for (const profile of profiles) {
    const { ca_file, key_file, token_file } = profile as unknown as Readonly<Record<string, unknown>>
    for (const path of [ca_file, (key_file as { file?: string } | undefined)?.file])
      if (typeof path === 'string') await hold(path, true)
    if (typeof token_file === 'string') await hold(token_file, false)
    const commands = profile.source === 'command' ? [profile.command] : []
    for (const ref of references(profile)) {
      if ('file' in ref) await hold(ref.file, false)
      if ('command' in ref) commands.push(ref.command)
    }
    for (const [program = '', ...args] of commands) {
      if (program.includes('/') || program.includes(sep)) await hold(program, true)
      // A script that an interpreter is given, as seen from the project's directory, one that is not there yet too.
      for (const word of args.flatMap(text => [text, text.slice(text.indexOf('=') + 1)]))
        await hold(resolve(dirname(file), word), true)
    }
  }
  return [...held.values()]
}

/** Tells whether all of them are what they were. */
export async function areAsShown(held: readonly HeldFile[]): Promise<boolean> {
  for (const { path, real, bytes } of held) {
    if (realPath(path) !== real) return false
    if (bytes !== undefined && (await digest(path)) !== bytes) return false
  }
  return true
}

/** Resolves links as far as there is something; the rest stands as it is. */
export function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return dirname(path) === path ? path : join(realPath(dirname(path)), basename(path))
  }
}

// Through links, in whatever letter case, and where the project is mounted a second time: one of the directories on the way
// there is the project's. Not seen are a directory inside it that is mounted elsewhere by itself, and a hard link; no project
// brings either.
function isWithin(path: string, project: string, identity: Identity): boolean {
  const directory = identity(project)
  for (const at of waysUp(path)) {
    for (const up of waysUp(realPath(at))) {
      if (up === project || (directory !== undefined && identity(up) === directory)) return true
    }
  }
  return false
}

/** The path, and each directory above it. */
function waysUp(path: string): string[] {
  return dirname(path) === path ? [path] : [path, ...waysUp(dirname(path))]
}

/** What makes two paths one place. @returns `undefined` where there is nothing. */
type Identity = (path: string) => string | undefined

function identityOf(path: string): string | undefined {
  try {
    // A file's number may have more digits than a number has.
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev} ${ino}`
  } catch {
    return undefined
  }
}

const limit = 256 * 1024 * 1024

async function digest(path: string): Promise<string> {
  const found = readRegularFile(path, limit)
  if ('failure' in found) return found.failure
  const { createHash } = await import('node:crypto')
  return createHash('sha256').update(found.bytes).digest('hex')
}
