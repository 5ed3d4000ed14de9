import { TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { formatInstant } from '../core/time.ts'
import { type Protocol, profileArgument, reply } from './protocol.ts'

/** What the SDKs read; those that must be there first. */
const required = ['AccessKeyId', 'SecretAccessKey']
const optional = ['SessionToken', 'AccountId', 'CredentialScope']

/**
 * The `credential_process` of the AWS SDKs: keys, from a profile whose source yields them as members of these names.
 *
 * @see AWS SDKs and Tools Reference Guide, "Process credential provider"
 */
export const protocol: Protocol = {
  reads: () => false,

  decode: ({ args }) => ({ kind: 'get', of: profileArgument('aws', args) }),

  encode(outcome) {
    if (outcome instanceof Error) throw outcome
    if (typeof outcome === 'string') throw new TokctlError('usage', 'no profile was named')
    const { members = {}, expiresAt } = outcome.token
    const missing = required.filter(name => !Object.hasOwn(members, name))
    if (missing.length > 0) {
      throw new TokctlError('config_invalid', `the profile yields no ${missing.join(' and no ')}`, {
        hint: 'write members = { AccessKeyId = "…", SecretAccessKey = "…", SessionToken = "…" } in the profile',
      })
    }
    const keys = [...required, ...optional].flatMap(name =>
      Object.hasOwn(members, name) ? [[name, (members[name] as Secret).expose()]] : [],
    )
    const life = expiresAt === undefined ? {} : { Expiration: formatInstant(expiresAt) }
    return reply(`${JSON.stringify({ Version: 1, ...Object.fromEntries(keys), ...life })}\n`)
  },
}
