import { Secret } from '../core/secret.ts'
import {
  type Ask,
  type Grant,
  isWireText,
  type Protocol,
  readObject,
  reply,
  tokenText,
  userText,
} from './protocol.ts'

// The client compares what stands on stdout with these very sentences; everything else there is shown to the user.
const notFound = 'credentials not found in native keychain'
const noServer = 'no credentials server URL'
const noUser = 'no credentials username'
const name = 'docker-credential-tokctl'

type DockerAsk = Ask & { readonly server?: string }

/**
 * Docker's credential helpers, which podman, skopeo, crane, Helm and ORAS speak too.
 * `erase` names no secret, so it has nothing to reject: it is done at once.
 *
 * @see docker/docker-credential-helpers, `credentials/credentials.go`
 */
export const protocol: Protocol<DockerAsk> = {
  // What docker sends with `list` says nothing.
  reads: ([verb]) => verb === 'get' || verb === 'store' || verb === 'erase',

  decode({ args, stdin, version }) {
    const [verb = '', ...rest] = args
    if (verb === '' || rest.length > 0) return refused(`Usage: ${name} <store|get|erase|list|version>`)
    switch (verb) {
      case 'get':
      case 'erase': {
        const server = withoutEnd(stdin)
        if (server === '') return refused(noServer)
        if (verb === 'erase') return { kind: 'answered', reply: reply('') }
        const url = urlOf(server)
        return url === undefined ? refused(notFound) : { kind: 'get', of: { url }, server }
      }
      case 'store': {
        const { ServerURL: server, Username: user, Secret: secret } = readObject(stdin) ?? {}
        if (typeof server !== 'string' || server === '') return refused(noServer)
        if (typeof user !== 'string' || user === '') return refused(noUser)
        const url = urlOf(server)
        if (url === undefined || typeof secret !== 'string') return refused('malformed credentials')
        return { kind: 'store', of: { url }, secret: new Secret(secret) }
      }
      case 'list':
        return { kind: 'list' }
      case 'version':
      case '--version':
      case '-v':
        return { kind: 'answered', reply: reply(`${name} (tokctl) ${version}\n`) }
      default:
        return refused(`${name}: unknown action: ${isWireText(verb) ? verb.slice(0, 40) : '?'}`)
    }
  },

  encode(outcome, ask) {
    if (outcome instanceof Error) {
      return reply(`tokctl: ${outcome.message}${outcome.hint === undefined ? '' : ` (${outcome.hint})`}\n`, 1)
    }
    if (outcome === 'done') return reply('')
    if (outcome === 'not_mine') {
      return ask.kind === 'store'
        ? reply('tokctl keeps no passwords, and no profile matches this server\n', 1)
        : reply(`${notFound}\n`, 1)
    }
    const told = { ServerURL: ask.server, Username: userText(outcome), Secret: tokenText(outcome) }
    return reply(`${JSON.stringify(told)}\n`)
  },

  encodeList(grants) {
    const users = grants.flatMap(grant => serversOf(grant).map(server => [server, userText(grant)]))
    return reply(`${JSON.stringify(Object.fromEntries(users))}\n`)
  },
}

function refused(sentence: string): DockerAsk {
  return { kind: 'answered', reply: reply(`${sentence}\n`, 1) }
}

function withoutEnd(text: string): string {
  let end = text.length
  while (end > 0 && ' \t\r\n'.includes(text[end - 1]!)) end--
  return text.slice(0, end)
}

// Registries are hosts, hosts with a repository behind them, or, for Docker Hub, a whole URL.
function urlOf(server: string): string | undefined {
  if (!isWireText(server)) return undefined
  return server.includes('://') ? server : `https://${server}`
}

function serversOf({ match }: Grant): string[] {
  return match
    .map(text => (text.includes('://') ? text : `https://${text}`))
    .filter(text => /^https:/i.test(text))
    .map(text => (/^https:\/\/[^/]+\/?$/i.test(text) ? text.slice('https://'.length).replace('/', '') : text))
}
