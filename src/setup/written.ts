import { createHash } from 'node:crypto'
import { writeFileAtomic } from '../core/atomic-file.ts'
import { readStateFile } from '../core/read-file.ts'
import type { StateDir } from '../core/state-dir.ts'

/** How a file was left. */
export interface FileWritten {
  /** It was not there before, and nobody else has changed it since. */
  readonly created: boolean
  /** A hash of its text. */
  readonly left: string
}

/**
 * What `tokctl setup` remembers of its own work, so that it takes back no more than that. Without it, it takes back what
 * is certainly its own, and deletes nothing.
 */
export interface Written {
  /** By their whole paths, links resolved. */
  readonly files: Map<string, FileWritten>
  /** What planners wanted to know again. */
  readonly notes: Set<string>
}

const name = 'setup.json'

/** Reads what is remembered; what cannot be read is nothing. */
export function readWritten(stateDir: Pick<StateDir, 'file'>): Written {
  try {
    const { files, notes } = JSON.parse(readStateFile(stateDir.file(name)) ?? '')
    const known = Object.entries(files as Record<string, FileWritten>).filter(
      ([, file]) => typeof file?.left === 'string' && typeof file.created === 'boolean',
    )
    return { files: new Map(known), notes: new Set((notes as unknown[]).filter(isText)) }
  } catch {
    return { files: new Map(), notes: new Set() }
  }
}

/** Remembers it. Where that fails, less is taken back later. */
export function writeWritten(stateDir: StateDir, { files, notes }: Written, pid: number): void {
  try {
    stateDir.ensure()
    const text = JSON.stringify({ files: Object.fromEntries(files), notes: [...notes] })
    writeFileAtomic(stateDir.file(name), `${text}\n`, pid)
  } catch {
    // The tools are set up all the same.
  }
}

/** Stands for a text in what is remembered. */
export function textHash(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}
