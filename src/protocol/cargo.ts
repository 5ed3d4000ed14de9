import { TokctlError } from '../core/errors.ts'
import { type Ask, authorization, type Protocol, type Reply, readObject, reply } from './protocol.ts'

/** A token serves them all; of a later one it is not known. */
const operations = ['read', 'publish', 'yank', 'unyank', 'owners']

type CargoAsk = Ask & {
  readonly isPlugin?: boolean
  /** Nothing that is done here: all that matters is whose registry it is. */
  readonly isOther?: boolean
}

/**
 * Cargo's credential providers: the plugin (`--cargo-plugin`, a conversation in lines of JSON) and `cargo:token-from-stdout`.
 * The token goes into the header as it stands, so it is told with its scheme.
 *
 * @see The Cargo Book, "Credential Provider Protocol"
 */
export const protocol: Protocol<CargoAsk> = {
  reads: args => args.includes('--cargo-plugin'),
  greeting: args => (args.includes('--cargo-plugin') ? '{"v":[1]}\n' : undefined),

  decode({ args, stdin, env }) {
    if (!args.includes('--cargo-plugin')) {
      const index = args.find(arg => arg !== 'get') ?? env['CARGO_REGISTRY_INDEX_URL']
      if (index !== undefined && index !== '') return { kind: 'get', of: { url: urlOf(index) } }
      throw new TokctlError('usage', 'helper cargo: no registry was named', {
        hint: 'let Cargo run it: credential-provider = ["cargo-credential-tokctl"]',
      })
    }
    const { v, registry, kind, operation = 'read' } = readObject(stdin) ?? {}
    if (v !== 1) return answered(failed('other', 'expected a request of version 1'))
    const index = readObject(JSON.stringify(registry ?? null))?.['index-url']
    const isGet = kind === 'get' && operations.includes(`${operation}`)
    if (typeof index !== 'string') {
      return answered(isGet ? failed('other', 'expected an index-url') : failed('operation-not-supported'))
    }
    const of = { url: urlOf(index) }
    // Signing in and out is tokctl's own business: `cargo logout` must not end the session of other tools. Elsewhere it is
    // the next provider's, which Cargo asks only where the registry is none of ours. To reject no secret changes nothing.
    if (!isGet) return { kind: 'reject', of, secret: undefined, isPlugin: true, isOther: true }
    return { kind: 'get', of, isPlugin: true }
  },

  encode(outcome, { isPlugin, isOther }) {
    if (!isPlugin) {
      if (outcome instanceof Error) throw outcome
      if (typeof outcome !== 'string') return reply(`${authorization(outcome)}\n`)
      throw new TokctlError('usage', 'no profile matches this registry', {
        hint: "put the index URL into the profile's match",
      })
    }
    if (outcome instanceof Error) return failed('other', outcome.message, outcome.hint)
    if (isOther) return failed(outcome === 'not_mine' ? 'url-not-supported' : 'operation-not-supported')
    if (typeof outcome === 'string') return failed('not-found')
    const { expiresAt } = outcome.token
    const life =
      expiresAt === undefined
        ? { cache: 'session' }
        : { cache: 'expires', expiration: Math.floor(expiresAt / 1000) }
    return line({ Ok: { kind: 'get', token: authorization(outcome), ...life, operation_independent: true } })
  },
}

function answered(reply: Reply): CargoAsk {
  return { kind: 'answered', reply }
}

// A failure is an answer too: the program itself ends well.
function failed(kind: string, message?: string, hint?: string): Reply {
  const more = hint === undefined ? {} : { 'caused-by': [hint] }
  return line({ Err: message === undefined ? { kind } : { kind, message, ...more } })
}

function line(told: unknown): Reply {
  return reply(`${JSON.stringify(told)}\n`)
}

function urlOf(index: string): string {
  return index.replace(/^(?:sparse|registry)\+/, '')
}
