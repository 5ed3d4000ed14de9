import { TokctlError } from '../core/errors.ts'
import { type Ask, type Protocol, profileArgument, reply, tokenText } from './protocol.ts'

const urn = 'urn:ietf:params:oauth:token-type:'
/** What the libraries take, and the member that holds it. */
const members: Readonly<Record<string, string>> = {
  [`${urn}id_token`]: 'id_token',
  [`${urn}jwt`]: 'id_token',
  [`${urn}saml2`]: 'saml_response',
}

type GcpAsk = Ask & { readonly tokenType: string }

/**
 * Executables of Google's external accounts. The kind of token is the one that `GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE` names.
 * A failure is an answer too: the libraries read stdout and stderr as one, so nothing stands beside it.
 *
 * @see google.aip.dev, AIP-4117
 */
export const protocol: Protocol<GcpAsk> = {
  reads: () => false,

  decode({ args, env }) {
    const of = profileArgument('gcp', args)
    const tokenType = env['GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE'] || `${urn}id_token`
    if (env['GOOGLE_EXTERNAL_ACCOUNT_REVOKE'] === '1') {
      return { kind: 'answered', tokenType, reply: failed('usage', 'run: tokctl logout') }
    }
    if (Object.hasOwn(members, tokenType)) return { kind: 'get', of, tokenType }
    return { kind: 'answered', tokenType, reply: failed('usage', 'this token type is not offered') }
  },

  encode(outcome, { tokenType }) {
    if (outcome instanceof TokctlError) {
      const { code, message, hint } = outcome
      return failed(code, hint === undefined ? message : `${message} (${hint})`)
    }
    if (typeof outcome === 'string') return failed('usage', 'no profile was named')
    const { expiresAt } = outcome.token
    const life = expiresAt === undefined ? {} : { expiration_time: Math.floor(expiresAt / 1000) }
    const token = { [members[tokenType]!]: tokenText(outcome) }
    return reply(
      `${JSON.stringify({ version: 1, success: true, token_type: tokenType, ...token, ...life })}\n`,
    )
  },
}

function failed(code: string, message: string): ReturnType<typeof reply> {
  return reply(`${JSON.stringify({ version: 1, success: false, code, message })}\n`)
}
