import { TokctlError } from '../core/errors.ts'
import { type Ask, type Protocol, reply, tokenText, userText } from './protocol.ts'

interface Asked {
  readonly mode: 'password' | 'creds'
  readonly json: boolean
}
type KeyringAsk = Ask & Partial<Asked>

/**
 * The command line of Python's keyring, as pip and uv run it: `get SERVICE [USER]`, and `diagnose`. Nothing is ever set or deleted.
 * A service is a URL or a host.
 *
 * @see keyring 25, `keyring/cli.py`
 */
export const protocol: Protocol<KeyringAsk> = {
  reads: () => false,

  decode({ args, version }) {
    const { words, mode, output } = readOptions(args)
    const [verb, service = '', user, ...rest] = words
    if (verb === 'diagnose' && words.length === 1) {
      const told = `backend: tokctl ${version}, which answers get alone, for what a profile matches\n`
      return { kind: 'answered', reply: reply(told) }
    }
    if (verb !== 'get')
      throw usage(`helper keyring: ${verb === undefined ? 'no verb' : 'only get is offered'}`)
    if (service === '' || rest.length > 0) throw usage('helper keyring get: expected SERVICE and USER')
    if (mode !== 'password' && mode !== 'creds') throw usage('--mode: expected password or creds')
    if (output !== 'plain' && output !== 'json') throw usage('--output: expected plain or json')
    if (user === undefined && mode === 'password') throw usage('helper keyring get: expected a user')
    return { kind: 'get', of: { url: service }, user, mode, json: output === 'json' }
  },

  encode(outcome, ask) {
    if (outcome instanceof Error) throw outcome
    if (typeof outcome === 'string') return reply('', 1)
    const password = tokenText(outcome)
    if (ask.mode === 'password') {
      return reply(ask.json ? `${JSON.stringify({ password })}\n` : `${password}\n`)
    }
    const username = userText(outcome, ask.kind === 'get' ? ask.user : undefined)
    return reply(ask.json ? `${JSON.stringify({ username, password })}\n` : `${username}\n${password}\n`)
  },
}

function usage(message: string): TokctlError {
  return new TokctlError('usage', message)
}

// Options may stand anywhere; those that choose a keyring choose nothing here.
function readOptions(args: readonly string[]): { words: string[]; mode: string; output: string } {
  const words: string[] = []
  const given: Record<string, string> = { '--mode': 'password', '--output': 'plain' }
  for (let i = 0; i < args.length; i++) {
    const [name = '', value] = args[i]!.split(/=(.*)/s)
    if (/^(?:--mode|--output|-b|--keyring-backend|-p|--keyring-path)$/.test(name)) {
      given[name] = value ?? args[++i] ?? ''
    } else if (!args[i]!.startsWith('-')) words.push(args[i]!)
  }
  return { words, mode: given['--mode']!, output: given['--output']! }
}
