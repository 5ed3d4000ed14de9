import { TokctlError } from '../core/errors.ts'
import { authorization, type Protocol, profileArgument, reply } from './protocol.ts'

/**
 * pnpm's `tokenHelper`. The scheme is told with the token: older versions put the line into the header as it stands.
 *
 * @see pnpm.io, "npmrc"
 */
export const protocol: Protocol = {
  reads: () => false,

  decode: ({ args }) => ({ kind: 'get', of: profileArgument('pnpm', args) }),

  encode(outcome) {
    if (outcome instanceof Error) throw outcome
    if (typeof outcome === 'string') throw new TokctlError('usage', 'no profile was named')
    return reply(`${authorization(outcome)}\n`)
  },
}
