import { isLoopback, parseUrl } from '../profile/match.ts'

/**
 * Reads the address of an endpoint: `https`, or `http` to this machine itself; no credentials, no fragment, and nothing
 * that parsers disagree about.
 *
 * @returns What is wrong with it, in words that do not show it, where it is not one.
 */
export function readEndpointUrl(text: string): URL | string {
  const url = parseUrl(text)
  if ('problem' in url) return url.problem
  if (url.fragment !== '') return 'a fragment does not belong in the URL of an endpoint'
  if (url.scheme === 'http' && !isLoopback(url.host))
    return 'plain http goes to localhost and loopback addresses only'
  return new URL(text)
}
