import { TokctlError } from '../core/errors.ts'
import { formatInstant } from '../core/time.ts'
import { type Ask, authorization, type Protocol, readObject, reply } from './protocol.ts'

/**
 * Credential helpers of Bazel, Buildbarn and others. A URI that no profile matches needs no credentials, as far as we know.
 *
 * @see EngFlow/credential-helper-spec
 */
export const protocol: Protocol = {
  reads: ([verb]) => verb === 'get',

  decode({ args, stdin }) {
    if (args.length !== 1 || args[0] !== 'get') {
      throw new TokctlError('usage', 'helper bazel: expected the verb get', {
        hint: 'let Bazel run it: --credential_helper=HOST=PATH',
      })
    }
    const { uri } = readObject(stdin) ?? {}
    if (typeof uri === 'string' && /^(?:https?|grpcs?):\/\//i.test(uri)) {
      // The token of a host is that of its gRPC services too.
      return { kind: 'get', of: { url: uri.replace(/^grpc(s?):/i, 'http$1:') } } satisfies Ask
    }
    throw new TokctlError('usage', 'helper bazel: standard input names no http, https, grpc or grpcs URI')
  },

  encode(outcome) {
    if (outcome instanceof Error) throw outcome
    if (typeof outcome === 'string') return reply('{}\n')
    const { expiresAt } = outcome.token
    const headers = { Authorization: [authorization(outcome)] }
    // Bazel refuses fractions of a second.
    const told = expiresAt === undefined ? { headers } : { headers, expires: formatInstant(expiresAt) }
    return reply(`${JSON.stringify(told)}\n`)
  },
}
