import { EventEmitter } from 'node:events'
import type { Interceptor } from './api.ts'
import { isRepeatable } from './authorized-fetch.ts'
import type { Asked, Authorizer, Grant } from './authorizer.ts'

// Nothing of undici is loaded: the user has one, or more, and Node another. What they agree on is the shape of a dispatcher
// and of a handler, and of handlers there are two: that of undici 6 (`onConnect` and its like), which the `fetch` inside
// Node 20 and 22 also gives to a dispatcher of undici 7, and that of 7 and later (`onRequestStart`).

interface DispatchOptions {
  readonly origin?: string | URL
  readonly path: string
  readonly method: string
  readonly headers?: unknown
  readonly body?: unknown
  readonly signal?: unknown
  readonly maxRedirections?: number
}

type Call = (...args: unknown[]) => unknown
type Handler = { readonly [method: string]: Call | undefined }
type Dispatch = (options: DispatchOptions, handler: Handler) => boolean

/** Makes an interceptor for `Dispatcher.compose`. */
export function undiciInterceptor(authorizer: Authorizer, origin: string | undefined): Interceptor {
  const intercept = (dispatch: Dispatch): Dispatch => {
    return (options, handler) => {
      const { path, method } = options
      const signal = signalOf(options.signal)
      const asked: Asked = { url: `${originOf(options, origin)}${path}`, method, signal }
      const fail = (error: unknown): void => void forwardError(handler, error)
      const again = (grant: Grant): void => void dispatch(withGrant(options, grant), handler)
      authorizer
        .grant(asked)
        .then(grant => {
          if (grant === undefined) dispatch(options, handler)
          else
            dispatch(withGrant(options, grant), watch({ authorizer, asked, grant, options, handler, again }))
        })
        .catch(fail)
      return true
    }
  }
  // Whatever type of dispatch is given, one of the same comes back.
  return intercept as unknown as Interceptor
}

// Undici takes what emits `abort` as well, and listens only once there is a connection.
function signalOf(given: unknown): AbortSignal | undefined {
  if (given instanceof AbortSignal) return given
  if (!(given instanceof EventEmitter)) return undefined
  const controller = new AbortController()
  given.once('abort', () => controller.abort())
  return controller.signal
}

function originOf({ origin }: DispatchOptions, fallback: string | undefined): string {
  return String(origin ?? fallback ?? '').replace(/\/$/, '')
}

function forwardError(handler: Handler, error: unknown): void {
  // Undici's own interceptors give no controller either, before there is a connection.
  if (handler['onResponseError'] !== undefined) handler['onResponseError'](null, error)
  else handler['onError']?.(error)
}

interface Watched {
  readonly authorizer: Authorizer
  readonly asked: Asked
  readonly grant: Grant
  readonly options: DispatchOptions
  readonly handler: Handler
  again(grant: Grant): void
}

/** Hands everything on, but for a 401 that is answered by another try: that one's body is read and dropped. */
function watch({ authorizer, asked, grant, options, handler, again }: Watched): Handler {
  let next: Promise<Grant> | undefined

  const isAnswered = (status: unknown, nonce: () => string | undefined): boolean => {
    if (status !== 401) return false
    const replacement = authorizer.again(asked, grant, nonce())
    // What becomes of it is told at the end of the answer, or to nobody.
    replacement?.catch(() => {})
    if (isRepeatable(options.body)) next = replacement
    return next !== undefined
  }
  const repeat = (fail: (error: unknown) => void): void => {
    next!.then(again).catch(fail)
  }
  const pass =
    (name: string): Call =>
    (...args) =>
      handler[name]?.(...args)

  if (handler['onRequestStart'] !== undefined) {
    return {
      onRequestStart: pass('onRequestStart'),
      onRequestUpgrade: pass('onRequestUpgrade'),
      onResponseStarted: pass('onResponseStarted'),
      onBodySent: pass('onBodySent'),
      onRequestSent: pass('onRequestSent'),
      onResponseStart(controller, status, headers, message) {
        if (isAnswered(status, () => headerOf(headers, 'dpop-nonce'))) return
        return handler['onResponseStart']?.(controller, status, headers, message)
      },
      onResponseData: (...args) => (next === undefined ? handler['onResponseData']?.(...args) : undefined),
      onResponseEnd(controller, trailers) {
        if (next === undefined) return handler['onResponseEnd']?.(controller, trailers)
        repeat(error => handler['onResponseError']?.(controller, error))
        return
      },
      onResponseError: pass('onResponseError'),
    }
  }
  return {
    onConnect: pass('onConnect'),
    onUpgrade: pass('onUpgrade'),
    onResponseStarted: pass('onResponseStarted'),
    onBodySent: pass('onBodySent'),
    onRequestSent: pass('onRequestSent'),
    onHeaders(status, headers, resume, message) {
      if (isAnswered(status, () => rawHeaderOf(headers, 'dpop-nonce'))) return true
      return handler['onHeaders']?.(status, headers, resume, message)
    },
    onData: (...args) => (next === undefined ? handler['onData']?.(...args) : true),
    onComplete(trailers) {
      if (next === undefined) return handler['onComplete']?.(trailers)
      repeat(error => handler['onError']?.(error))
      return
    },
    onError: pass('onError'),
  }
}

function headerOf(headers: unknown, name: string): string | undefined {
  const value = (headers as Readonly<Record<string, string | string[]>>)[name]
  return Array.isArray(value) ? value[0] : value
}

function rawHeaderOf(headers: unknown, name: string): string | undefined {
  const raw = (headers as readonly (Buffer | string)[] | null) ?? []
  const at = raw.findIndex((part, i) => i % 2 === 0 && String(part).toLowerCase() === name)
  return at < 0 ? undefined : String(raw[at + 1])
}

// Older versions of undici follow redirects by this option, below any interceptor: the token would go along unseen.
function withGrant(options: DispatchOptions, { headers }: Grant): DispatchOptions {
  const { maxRedirections } = options
  const guarded = maxRedirections === undefined ? {} : { maxRedirections: 0 }
  return { ...options, ...guarded, headers: mergeHeaders(options.headers, headers) }
}

// As undici takes them: names and values in turn, pairs, or an object.
function mergeHeaders(given: unknown, added: Readonly<Record<string, string>>): string[] {
  const merged: string[] = []
  const put = (name: unknown, value: unknown): void => {
    const key = String(name)
    if (Object.hasOwn(added, key.toLowerCase()) || value === undefined) return
    for (const one of Array.isArray(value) ? value : [value]) merged.push(key, String(one))
  }
  if (isFlat(given)) for (let i = 0; i < given.length; i += 2) put(given[i], given[i + 1])
  else for (const [name, value] of pairsOf(given)) put(name, value)
  for (const [name, value] of Object.entries(added)) merged.push(name, value)
  return merged
}

function isFlat(headers: unknown): headers is readonly unknown[] {
  return Array.isArray(headers) && !Array.isArray(headers[0])
}

function pairsOf(headers: unknown): Iterable<readonly [unknown, unknown]> {
  if (headers === undefined || headers === null) return []
  if (typeof headers === 'object' && Symbol.iterator in headers) {
    return headers as Iterable<readonly [unknown, unknown]>
  }
  return Object.entries(headers)
}
