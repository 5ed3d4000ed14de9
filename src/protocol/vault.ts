import { TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { type Ask, isWireText, type Protocol, reply, tokenText } from './protocol.ts'

const usualAddress = 'https://127.0.0.1:8200'

/**
 * Token helpers of Vault and OpenBao: the server is the one that `VAULT_ADDR` or `BAO_ADDR` names.
 * `erase` names no token, so it has nothing to reject.
 *
 * @see HashiCorp Developer, "Custom token helper"
 */
export const protocol: Protocol<Ask> = {
  reads: ([verb]) => verb === 'store',

  decode({ args, stdin, env }) {
    const [verb, ...rest] = args
    if (rest.length > 0 || (verb !== 'get' && verb !== 'store' && verb !== 'erase')) {
      throw new TokctlError('usage', 'helper vault: expected get, store or erase')
    }
    if (verb === 'erase') return { kind: 'answered', reply: reply('') }
    const of = { url: env['VAULT_ADDR'] || env['BAO_ADDR'] || usualAddress }
    if (verb === 'get') return { kind: 'get', of }
    const token = stdin.replace(/\n$/, '')
    if (token === '' || !isWireText(token)) throw new TokctlError('usage', 'standard input holds no token')
    return { kind: 'store', of, secret: new Secret(token) }
  },

  encode(outcome, ask) {
    if (outcome instanceof Error) throw outcome
    // The token alone: a line feed would be part of it.
    if (typeof outcome !== 'string') return reply(tokenText(outcome))
    if (outcome === 'done' || ask.kind === 'get') return reply('')
    throw new TokctlError('usage', 'no profile matches this server, and other tokens are not kept')
  },
}
