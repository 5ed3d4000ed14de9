import { TokctlError } from '../core/errors.ts'
import { type Ask, authorization, type Grant, type Protocol, reply } from './protocol.ts'

/**
 * Go's `GOAUTH` commands. Without arguments it tells what is at hand; with a URL, which answered with a 4xx, it gets the
 * token. The response on stdin does not tell which token was sent, if any, so none is rejected for it.
 *
 * @see `go help goauth`
 */
export const protocol: Protocol = {
  // The response says nothing that is used, but whoever writes it wants it read.
  reads: args => args.length > 0,

  decode({ args }) {
    const [url, ...rest] = args
    if (rest.length > 0) throw new TokctlError('usage', 'helper goauth: expected at most one URL')
    if (url === undefined) return { kind: 'list' }
    if (/^https:\/\/[\x21-\x7e]+$/i.test(url)) return { kind: 'get', of: { url } } satisfies Ask
    throw new TokctlError('usage', 'helper goauth: expected an https URL')
  },

  encode(outcome, ask) {
    if (outcome instanceof Error) throw outcome
    if (typeof outcome === 'string') return reply('')
    // Go 1.24 finds a header by the whole URL or by the host alone, by no path between them.
    const asked = ask.kind === 'get' && 'url' in ask.of ? [ask.of.url] : []
    return reply(set(outcome, asked))
  },

  encodeList: grants => reply(grants.map(grant => set(grant)).join('')),
}

// Addresses, an empty line, headers, an empty line: without the last one Go drops it all. A slash at the end is one too
// many for Go to find the host.
function set(grant: Grant, asked: readonly string[] = []): string {
  const matched = grant.match
    .map(text => (text.includes('://') ? text : `https://${text}`))
    .filter(text => /^https:/i.test(text))
    .map(text => text.replace(/\/$/, ''))
  const urls = [...new Set([...asked, ...matched])]
  return urls.length === 0 ? '' : `${urls.join('\n')}\n\nAuthorization: ${authorization(grant)}\n\n`
}
