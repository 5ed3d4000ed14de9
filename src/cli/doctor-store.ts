import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { App } from '../app.ts'
import type { Environment } from '../core/environment.ts'
import { shellWord } from '../core/shell-word.ts'
import type { Config, StoreKind } from '../profile/profile.ts'
import { references } from '../profile/project.ts'
import type { Store } from '../store/store.ts'
import { openStore, storeKind } from '../store/stores.ts'
import { type Finding, note, ok, problem, problemsOf } from './finding.ts'

// What `doctor` says of the store: which, why that one, how strong, whether it answers, and how large what it keeps is.

/**
 * @param config - `undefined` where there is none that can be read.
 * @param configured - What it says of the store, which can be told of one with problems too.
 */
export async function storeFindings(
  app: App,
  environment: Environment,
  config: Config | undefined,
  configured: StoreKind,
): Promise<Finding[]> {
  const findings: Finding[] = []
  const damaged: string[] = []
  const trace = (message: string): void => void damaged.push(message)
  const { stateDir, busSocket } = app
  const options = { environment, stateDir, busSocket, recorded: undefined, warn() {}, trace }
  let store: Store | undefined
  try {
    const kind = storeKind(environment, configured)
    const why = environment.env['TOKCTL_STORE']
      ? 'TOKCTL_STORE says so'
      : kind === 'auto'
        ? 'chosen by itself'
        : 'the configuration says so'
    if (kind === 'memory') {
      return [note('store', `memory (${why}): nothing outlives a call, and nothing is shared`)]
    }
    if (kind !== 'file') {
      store = await openStore({ ...options, kind: 'keychain' })
      try {
        // Looked for and not found is an answer, and prompts nobody.
        await store.get({ kind: 'profile', name: 'probe of the keychain' })
        findings.push(
          ok('store', `keychain (${why}): it answers; strong: opened with your session, for your programs`),
          ...keychainSize(app, environment),
          ...(await secretFindings(store, config)),
        )
        // Profiles that began without a keychain go on with their files.
        if (kind !== 'auto' || !usesFiles(app, config)) return findings
        store.close()
      } catch (error) {
        const { KeychainAbsent } = await import('../store/keychain-errors.ts')
        if (kind !== 'auto' || !(error instanceof KeychainAbsent)) throw error
        store.close()
        findings.push(...forWantOf(error.message, config))
      }
    }
    store = await openStore({ ...options, kind: 'file' })
    const { keySource } = await import('../store/key-file.ts')
    const key = keySource(environment, app.stateDir)
    key.load()
    const isGiven = environment.env['TOKCTL_STORE_KEY'] || environment.env['TOKCTL_STORE_KEY_FILE']
    const strength = isGiven
      ? `sealed with the key of ${environment.env['TOKCTL_STORE_KEY'] ? 'TOKCTL_STORE_KEY' : 'TOKCTL_STORE_KEY_FILE'}: as strong as that is kept`
      : 'sealed with a key that lies beside them: weak against who reads your files, good against copies of single ones'
    findings.push(
      (isGiven ? ok : note)(
        'store',
        `file (${kind === 'auto' ? 'for want of a keychain' : why}): ${strength}`,
      ),
    )
    findings.push(...(await fileRecords(app, store)))
    findings.push(...damaged.map(text => problem('store', text, removing(text))))
    if (findings.every(({ level }) => level !== 'problem'))
      findings.push(...(await secretFindings(store, config)))
  } catch (error) {
    findings.push(...problemsOf('store', error))
  } finally {
    store?.close()
  }
  return findings
}

function removing(text: string): string | undefined {
  const path = /^(.*\.sealed) is damaged/.exec(text)?.[1]
  return path === undefined ? undefined : `run: rm ${shellWord(path)}`
}

function usesFiles({ outcomes }: App, config: Config | undefined): boolean {
  return [...(config?.profiles.keys() ?? [])].some(name => outcomes.read(name)?.auto === 'file')
}

/** The secrets that profiles name by `{ secret = … }` and that nobody has set. Their values are not asked for. */
async function secretFindings(store: Store, config: Config | undefined): Promise<Finding[]> {
  const needed = new Map<string, string[]>()
  for (const profile of config?.profiles.values() ?? []) {
    for (const ref of references(profile)) {
      if ('secret' in ref) needed.set(ref.secret, [...(needed.get(ref.secret) ?? []), profile.name])
    }
  }
  if (needed.size === 0) return []
  const kept = new Set((await store.list()).flatMap(({ kind, name }) => (kind === 'secret' ? [name] : [])))
  return [...needed].flatMap(([name, profiles]) => {
    if (kept.has(name)) return []
    const whose = `(${profiles.length === 1 ? 'profile' : 'profiles'} ${profiles.join(', ')})`
    const text = `no secret is kept under the name "${name}" ${whose}`
    return [problem('secret', text, `run: tokctl secret set ${shellWord(name)}`)]
  })
}

function forWantOf(why: string, config: Config | undefined): Finding[] {
  const lost = [...(config?.profiles.values() ?? [])].filter(
    ({ source }) => source === 'authorization_code' || source === 'device_code' || source === 'refresh_token',
  )
  const absent = note('store', why)
  if (lost.length === 0) return [absent]
  const names = lost.map(({ name }) => `"${name}"`).join(', ')
  return [
    absent,
    problem(
      'store',
      `no place for the sessions of ${names}`,
      'write kind = "file" under [store], or set TOKCTL_STORE=file',
    ),
  ]
}

/** CRED_MAX_CREDENTIAL_BLOB_SIZE; no other keychain has a limit that a token meets. */
const windowsItemBytes = 2560

function keychainSize(app: App, { platform }: Environment): Finding[] {
  if (platform !== 'win32') return [ok('size', 'an item of this keychain holds any token')]
  const sealed = sizesIn(app.stateDir.file('keychain'), '.sealed').length
  const text = `an item holds ${windowsItemBytes} bytes; ${sealed} that hold more are sealed in files`
  return [ok('size', text)]
}

const fileBytes = 16 * 1024 * 1024

async function fileRecords(app: App, store: Store): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const key of await store.list()) {
    try {
      await store.get(key)
    } catch (error) {
      findings.push(...problemsOf('store', error))
    }
  }
  const sizes = sizesIn(app.stateDir.file('records'), '.sealed')
  const largest = Math.max(0, ...sizes)
  if (findings.length === 0 && sizes.length > 0) {
    const kilobytes = Math.ceil(largest / 1024)
    findings.push(
      ok(
        'size',
        `${sizes.length} sealed ${sizes.length === 1 ? 'file' : 'files'}, the largest ${kilobytes} KB of ${fileBytes / 1024} KB`,
      ),
    )
  }
  return findings
}

function sizesIn(directory: string, ending: string): number[] {
  try {
    return readdirSync(directory)
      .filter(name => name.endsWith(ending))
      .map(name => statSync(join(directory, name)).size)
  } catch {
    return []
  }
}
