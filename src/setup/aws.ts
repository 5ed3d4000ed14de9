import { join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { addToSection, type IniEntry, iniEntries, removeFromSection, sectionsOf } from './ini.ts'
import { namedProfile, taken } from './places.ts'
import { comesFromUs } from './probe.ts'
import { backupPath, type Machine, type Tool } from './setup.ts'
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
        const isMeant = ask.as === undefined || entry.section === sectionOf(ask.as)
        return named !== undefined && isMeant && (ask.profile === undefined || named === ask.profile.name)
      })
      if (ours.length === 0) return { changes: [] }
      const were = sectionsOf(machine.read(backupPath(file)) ?? '')
      const after = removeFromSection(before!, new Set(ours.map(({ line }) => line)), were)
      const says = ours.map(({ section, value }) => `- [${section}] ${key} = ${value}`)
      return { changes: [{ file, before, after, says }] }
    }
    const profile = namedProfile('aws', ask)
    if (!('members' in profile)) {
      throw new TokctlError('usage', `profile "${profile.name}" yields a token, and AWS wants keys`, {
        hint: 'write members = { AccessKeyId = "…", SecretAccessKey = "…", SessionToken = "…" } in the profile',
        profile: profile.name,
      })
    }
    const name = ask.as ?? profile.name
    const section = sectionOf(name)
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

  asked: 'tool',
  async probe(_, machine) {
    const file = machine.env['AWS_CONFIG_FILE'] || join(machine.home, '.aws', 'config')
    const ours = iniEntries(machine.read(file) ?? '').find(
      entry => entry.key === key && isOurs.test(entry.value),
    )
    if (ours === undefined) return undefined
    const name = ours.section.replace(/^profile /, '')
    const profile = isOurs.exec(ours.value)?.[1]
    if (profile === undefined) return undefined
    // The CLI shows the last four characters of the id of the key, which is no secret.
    return comesFromUs(
      machine,
      {
        words: ['helper', 'aws', profile],
        secret: said => /"AccessKeyId":"[^"]*([^"]{4})"/.exec(said)?.[1],
      },
      {
        command: ['aws', 'configure', 'list', '--profile', name],
        secret: said => /access_key\s+\*+(\S{4})\s+custom-process/.exec(said)?.[1],
      },
    )
  },
}

function sectionOf(name: string): string {
  return name === 'default' ? name : `profile ${name}`
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
