import { TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { type Ask, type Input, isWireText, type Protocol, reply, tokenText } from './protocol.ts'

const usualAddress = 'https://127.0.0.1:8200'
const unclear = 'vault and bao would go to different servers, and it is not known which of them asks'

/** Who runs the helper: Vault's program, or OpenBao's. */
type Client = 'vault' | 'bao'

type VaultAsk = Ask & { readonly client?: Client | undefined }

/**
 * Token helpers of Vault and OpenBao: the server is the one that the environment names, as the program that asks reads it.
 * `--client vault|bao` says which one that is; without it there is an answer only where both would go to the same server.
 * `erase` names no token, so it has nothing to reject.
 *
 * @see HashiCorp Developer, "Custom token helper"
 */
export const protocol: Protocol<VaultAsk> = {
  reads: args => args.at(-1) === 'store',

  decode({ args, stdin, env }) {
    const isTold = args[0] === '--client'
    const client = isTold ? clientOf(args[1]) : undefined
    const [verb, ...rest] = isTold ? args.slice(2) : args
    if (rest.length > 0 || (verb !== 'get' && verb !== 'store' && verb !== 'erase')) {
      throw new TokctlError('usage', 'helper vault: expected get, store or erase')
    }
    if (verb === 'erase') return { kind: 'answered', reply: reply('') }
    const of = { url: addressFor(client, env) }
    if (verb === 'get') return { kind: 'get', of, client }
    const token = stdin.replace(/\n$/, '')
    if (token === '' || !isWireText(token)) throw new TokctlError('usage', 'standard input holds no token')
    return { kind: 'store', of, secret: new Secret(token), client }
  },

  encode(outcome, ask) {
    if (outcome instanceof Error) throw outcome
    // The token alone: a line feed would be part of it.
    if (typeof outcome !== 'string') return reply(tokenText(outcome))
    if (outcome === 'done' || ask.kind === 'get') return reply('')
    const name = ask.client === 'bao' ? 'bao' : 'vault'
    throw new TokctlError('usage', 'no profile matches this server, and other tokens are not kept', {
      hint: `put the server into a profile's match, or run: export ${name.toUpperCase()}_TOKEN="$(${name} login -token-only)"`,
    })
  },
}

function clientOf(word: string | undefined): Client {
  if (word === 'vault' || word === 'bao') return word
  throw new TokctlError('usage', 'helper vault: --client is vault or bao')
}

/**
 * The address that the client sends the token to. Vault knows no `BAO_…`. OpenBao takes `BAO_…` before `VAULT_…`: of its
 * versions one goes by which is there, and another by which is not empty.
 *
 * @throws {TokctlError} `usage` where it cannot be told which of two it is
 */
function addressFor(client: Client | undefined, env: Input['env']): string {
  // OpenBao takes that variable too, so that whatever stands in its file may be run by both.
  const isShared = Boolean(env['VAULT_CONFIG_PATH']) && !env['BAO_CONFIG_PATH']
  const isEither = client === undefined || isShared
  const [vault, present, filled] = [
    (name: string) => env[`VAULT_${name}`],
    (name: string) => env[`BAO_${name}`] ?? env[`VAULT_${name}`],
    (name: string) => env[`BAO_${name}`] || env[`VAULT_${name}`],
  ]
  const readings = isEither ? [vault, present, filled] : client === 'vault' ? [vault] : [present, filled]
  // An agent stands before the server.
  const addresses = readings.map(read => read('AGENT_ADDR') || read('ADDR') || usualAddress)
  const [address = usualAddress, ...others] = new Set(addresses.map(each => each.replace(/\/$/, '')))
  if (others.length === 0) return address
  if (client === undefined) {
    throw new TokctlError('usage', `helper vault: ${unclear}`, {
      hint: 'run again what set it up, which now says who asks: tokctl setup vault, or tokctl setup bao',
    })
  }
  if (isShared) {
    throw new TokctlError('usage', `helper vault: ${unclear}, since both read VAULT_CONFIG_PATH`, {
      hint: 'set BAO_CONFIG_PATH to a file of its own, then run: tokctl setup bao',
    })
  }
  throw new TokctlError('usage', 'helper vault: what an empty BAO_ADDR means differs among versions of bao', {
    hint: 'run: unset BAO_ADDR BAO_AGENT_ADDR, or set them',
  })
}
