import { TokctlError } from '../core/errors.ts'
import { type Ask, type Protocol, profileArgument, type Reply, reply, tokenText } from './protocol.ts'

const urn = 'urn:ietf:params:oauth:token-type:'
/** The types of token, and the member that holds it. Google's own libraries take no access token of a program today. */
const members: Readonly<Record<string, string>> = {
  [`${urn}id_token`]: 'id_token',
  [`${urn}jwt`]: 'id_token',
  [`${urn}saml2`]: 'saml_response',
  [`${urn}access_token`]: 'access_token',
}

interface GcpAnswer {
  readonly tokenType: string
  /** Where the library looks before it asks; it never writes there itself. */
  readonly outputFile?: string | undefined
  /** stdout is a person's terminal: the answer stands in the file alone. */
  readonly isInteractive?: boolean
}
type GcpAsk = Ask & GcpAnswer

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
    const outputFile = env['GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE'] || undefined
    const isInteractive = outputFile !== undefined && env['GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE'] === '1'
    if (Object.hasOwn(members, tokenType)) {
      return { kind: 'get', of, tokenType, outputFile, isInteractive }
    }
    const message =
      'of this token type nothing is offered: set subject_token_type to id_token, jwt, saml2 or access_token'
    return { kind: 'answered', tokenType, reply: failed('usage', message) }
  },

  encode(outcome, { tokenType, outputFile, isInteractive = false }) {
    if (outcome instanceof TokctlError) {
      const { code, message, hint } = outcome
      return failed(code, hint === undefined ? message : `${message} (${hint})`)
    }
    if (typeof outcome === 'string') return failed('usage', 'no profile was named')
    const { expiresAt } = outcome.token
    const life = expiresAt === undefined ? {} : { expiration_time: Math.floor(expiresAt / 1000) }
    const token = { [members[tokenType]!]: tokenText(outcome) }
    const answer = `${JSON.stringify({ version: 1, success: true, token_type: tokenType, ...token, ...life })}\n`
    if (outputFile === undefined) return reply(answer)
    if (expiresAt === undefined) {
      const message = 'output_file needs to know when the token ends, and it does not tell: set default_ttl'
      return failed('usage', message)
    }
    const file = { path: outputFile, content: answer, needed: isInteractive }
    return { ...reply(isInteractive ? '' : answer), file }
  },
}

function failed(code: string, message: string): Reply {
  return reply(`${JSON.stringify({ version: 1, success: false, code, message })}\n`)
}
