import { TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { type Ask, isWireText, type Protocol, readObject, reply, tokenText } from './protocol.ts'

/**
 * Credentials helpers of Terraform and OpenTofu. What the user wrote into `args` of the block comes first and is left aside.
 * `forget` ends no session: there is nothing of Terraform's own to forget.
 *
 * @see Terraform Internals, "Credentials Helpers"
 */
export const protocol: Protocol<Ask> = {
  reads: args => args.at(-2) === 'store',

  decode({ args, stdin }) {
    const verb = args.at(-2)
    const host = args.at(-1) ?? ''
    if (verb !== 'get' && verb !== 'store' && verb !== 'forget') {
      throw new TokctlError('usage', 'helper terraform: expected get, store or forget, and a host name')
    }
    if (!/^[\w.-]+(?::\d+)?$/.test(host) || !isWireText(host)) {
      throw new TokctlError('usage', `helper terraform ${verb}: malformed host name`)
    }
    const of = { url: `https://${host}/` }
    if (verb === 'get') return { kind: 'get', of }
    if (verb === 'forget') return { kind: 'answered', reply: reply('') }
    const { token, ...others } = readObject(stdin) ?? {}
    if (typeof token === 'string' && Object.keys(others).length === 0) {
      return { kind: 'store', of, secret: new Secret(token) }
    }
    throw new TokctlError('usage', 'helper terraform store: expected an object with a token and nothing else')
  },

  encode(outcome, ask) {
    if (outcome instanceof Error) throw outcome
    if (outcome === 'done') return reply('')
    if (outcome !== 'not_mine') return reply(`${JSON.stringify({ token: tokenText(outcome) })}\n`)
    if (ask.kind === 'get') return reply('{}\n')
    throw new TokctlError('usage', 'no profile matches this host, and other tokens are not kept', {
      hint: "put the host into a profile's match, its token into TF_TOKEN_…, or remove the credentials_helper block",
    })
  },
}
