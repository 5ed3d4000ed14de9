import { realpathSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { App } from '../app.ts'
import type { Environment } from '../core/environment.ts'
import { shellWord } from '../core/shell-word.ts'
import { configFile } from '../profile/load.ts'
import { findProject, isTrusted, readProject, wasTrusted } from '../profile/project.ts'
import { shownPath } from '../profile/shown-path.ts'
import { type Finding, note, ok, problem, problemsOf } from './finding.ts'

// What `doctor` says of the places that a configuration comes from: who could put another one there, and whether a project's
// counts.

/** Whether others could replace the configuration: by its directory, or by one above it. */
export function directoryFindings(path: string, { uid, home, platform }: Environment): Finding[] {
  if (platform === 'win32' || uid === undefined) return []
  const findings: Finding[] = []
  for (const directory of directoriesOf(path)) {
    let found: Stats | undefined
    try {
      found = statSync(directory, { throwIfNoEntry: false })
    } catch {
      // One that may not be entered: nobody but its owner can put anything there either.
    }
    if (found === undefined) continue
    const shown = shownPath(directory, home)
    if (found.uid !== uid && found.uid !== 0) {
      const text = `${shown} belongs to another user, who can put another configuration there`
      findings.push(problem('config', text, `run: sudo chown ${uid} ${shellWord(directory)}`))
      continue
    }
    // Where the sticky bit stands each can take away his own alone; a group with its user's id is that user's own.
    const isSticky = (found.mode & 0o1000) !== 0
    const isOpen = (found.mode & 0o002) !== 0 || ((found.mode & 0o020) !== 0 && found.gid !== found.uid)
    if (!isOpen || isSticky) continue
    const mode = (found.mode & 0o777).toString(8).padStart(4, '0')
    const text = `${shown} can be written by others (mode ${mode}), who can put another configuration there`
    findings.push(problem('config', text, `run: chmod go-w ${shellWord(directory)}`))
  }
  return findings
}

// That of the file and that of what it is a link to, each with those above it.
function directoriesOf(path: string): Set<string> {
  const places = [path]
  try {
    places.push(realpathSync(path))
  } catch {}
  const directories = new Set<string>()
  for (const place of places) {
    for (let at = dirname(place); ; at = dirname(at)) {
      directories.add(at)
      if (dirname(at) === at) break
    }
  }
  return directories
}

/** Whether the project that this directory is in counts. */
export async function projectFindings(
  app: App,
  environment: Environment,
  flag: string | undefined,
): Promise<Finding[]> {
  if (configFile(environment, flag).chosenBy !== 'default') return []
  const path = findProject(environment)
  if (path === undefined) return []
  const shown = shownPath(path, environment.home)
  const hint = `run: tokctl trust ${shellWord(path)}`
  try {
    const source = readProject(path, environment)
    if (await isTrusted(source, app.stateDir, environment))
      return [ok('project', `${shown} is trusted as it is`)]
  } catch (error) {
    return problemsOf('project', error)
  }
  if (!(await wasTrusted(path, app.stateDir)))
    return [note('project', `${shown} is not trusted, and has no effect`, hint)]
  return [
    problem(
      'project',
      `${shown} was trusted, and has no effect since it, or what it names of the project, was changed`,
      hint,
    ),
  ]
}
