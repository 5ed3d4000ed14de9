import { join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { addToSection, type IniEntry, iniEntries, removeFromSection } from './ini.ts'
import { namedProfile, taken } from './places.ts'
import type { Machine, Tool } from './setup.ts'
import { quotedWords } from './words.ts'

const key = 'credential_process'
const isOurs = /tokctl.* helper aws ([\w.-]+)"?$/

/** `credential_process` of a profile of AWS: by `aws configure set`, or in the file where there are the SDKs alone. */
export const tool: Tool = {
  about: 'credential_process of an AWS profile',
  programs: ['aws'],
  takesProfile: true,

  async plan(ask, machine) {
    const { env, home } = machine
    const file = env['AWS_CONFIG_FILE'] || join(home, '.aws', 'config')
    const before = machine.read(file)
    const entries = iniEntries(before ?? '')
    if (ask.remove) {
      const ours = entries.filter(entry => {
        const named = entry.key === key ? isOurs.exec(entry.value)?.[1] : undefined
        return named !== undefined && (ask.profile === undefined || named === ask.profile.name)
      })
      if (ours.length === 0) return { changes: [] }
      const after = removeFromSection(before!, new Set(ours.map(({ line }) => line)))
      const says = ours.map(({ section, value }) => `- [${section}] ${key} = ${value}`)
      return { changes: [{ file, before, after: after.trim() === '' ? undefined : after, says }] }
    }
    const profile = namedProfile('aws', ask)
    if (!('members' in profile)) {
      throw new TokctlError('usage', `profile "${profile.name}" yields a token, and AWS wants keys`, {
        hint: 'write members = { AccessKeyId = "…", SecretAccessKey = "…", SessionToken = "…" } in the profile',
        profile: profile.name,
      })
    }
    const name = ask.as ?? profile.name
    const section = name === 'default' ? name : `profile ${name}`
    const value = quotedWords([...machine.program, 'helper', 'aws', profile.name], 'aws')
    refuseOthers(entries, section, name, file, machine)
    const there = entries.find(entry => entry.section === section && entry.key === key)
    if (there?.value === value) return { changes: [] }
    const next = [`AWS_PROFILE=${name} aws sts get-caller-identity`]
    if (machine.find('aws') !== undefined) {
      const run = ['aws', 'configure', 'set', key, value, '--profile', name]
      return { changes: [{ run, rewrites: [file] }], next }
    }
    const rest = there === undefined ? before : removeFromSection(before!, new Set([there.line]))
    const after = addToSection(rest, section, [`${key} = ${value}`])
    return { changes: [{ file, before, after, says: [`+ [${section}] ${key} = ${value}`] }], next }
  },

  async probe(_, machine) {
    const file = machine.env['AWS_CONFIG_FILE'] || join(machine.home, '.aws', 'config')
    const ours = iniEntries(machine.read(file) ?? '').find(
      entry => entry.key === key && isOurs.test(entry.value),
    )
    if (ours === undefined) return undefined
    const name = ours.section.replace(/^profile /, '')
    const { exitCode, stdout } = await machine.run(['aws', 'configure', 'list', '--profile', name])
    return exitCode === 0 && stdout.includes('custom-process')
  },
}

function refuseOthers(
  entries: readonly IniEntry[],
  section: string,
  name: string,
  file: string,
  { env, home, read }: Machine,
): void {
  const foreign = entries.find(
    entry => entry.section === section && entry.key === key && !isOurs.test(entry.value),
  )
  const hint = `run: tokctl setup aws PROFILE --as ANOTHER-NAME`
  if (foreign !== undefined) throw taken(file, `${key} of [${section}]`, foreign.value, hint)
  // Keys come before a process, wherever they stand.
  const credentials = env['AWS_SHARED_CREDENTIALS_FILE'] || join(home, '.aws', 'credentials')
  const hasKeys =
    entries.some(entry => entry.section === section && entry.key === 'aws_access_key_id') ||
    iniEntries(read(credentials) ?? '').some(
      entry => entry.section === name && entry.key === 'aws_access_key_id',
    )
  if (hasKeys) throw taken(credentials, `profile ${name}`, 'a pair of keys', hint)
}
