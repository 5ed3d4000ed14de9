import type { Asked, Authorizer } from './authorizer.ts'

// A fetch that follows redirects by itself, so that each URL on the way is looked at before it gets a token. What the fetch
// standard says about redirects (§4.4, HTTP-redirect fetch) is done here as there.

type Fetch = typeof globalThis.fetch
type Body = NonNullable<RequestInit['body']> | null

const maxRedirects = 20
const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const bodyHeaders = [
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-type',
]
const originHeaders = ['authorization', 'cookie', 'host', 'proxy-authorization']

/** Makes a `fetch` that adds tokens. `send` is the one it stands on. */
export function authorizedFetch(authorizer: Authorizer, send: () => Fetch): Fetch {
  return async (input, init) => {
    const given = input instanceof Request ? input : undefined
    const follows = (init?.redirect ?? given?.redirect ?? 'follow') === 'follow'
    const signal = init?.signal ?? given?.signal ?? undefined
    const headers = new Headers(init?.headers ?? given?.headers)
    let url = new URL(given?.url ?? String(input))
    let method = init?.method ?? given?.method ?? 'GET'
    let body: Body = init?.body ?? given?.body ?? null
    let mayRepeat = true

    const attempt = (added: Readonly<Record<string, string>>): Promise<Response> => {
      const all = new Headers(headers)
      for (const [name, value] of Object.entries(added)) all.set(name, value)
      const { integrity, keepalive } = given ?? {}
      return send()(url, {
        ...(integrity ? { integrity } : {}),
        ...(keepalive ? { keepalive } : {}),
        ...init,
        method,
        headers: all,
        body,
        redirect: follows ? 'manual' : (init?.redirect ?? given?.redirect ?? 'follow'),
        ...(signal === undefined ? {} : { signal }),
        ...(isRepeatable(body) ? {} : { duplex: 'half' as const }),
      })
    }

    const once = async (): Promise<Response> => {
      const asked: Asked = { url: withoutFragment(url), method, signal }
      const grant = await authorizer.grant(asked)
      const response = await attempt(grant?.headers ?? {})
      if (grant === undefined || response.status !== 401 || !mayRepeat) return response
      const next = authorizer.again(asked, grant, response.headers.get('dpop-nonce') ?? undefined)
      if (next === undefined) return response
      if (!isRepeatable(body)) {
        // The next request shall have a better token; this one cannot be sent again.
        await next.catch(() => {})
        return response
      }
      mayRepeat = false
      await response.body?.cancel()
      return attempt((await next).headers)
    }

    for (let redirects = 0; ; redirects++) {
      const response = await once()
      const location =
        follows && redirectStatuses.has(response.status) ? response.headers.get('location') : null
      if (location === null) return redirects === 0 ? response : redirected(response)
      await response.body?.cancel()
      const next = new URL(location, url)
      if (!/^https?:$/.test(next.protocol)) throw failed('a redirect leads to another scheme than http')
      if (redirects === maxRedirects) throw failed('too many redirects')
      const { status } = response
      const isPost = method.toUpperCase() === 'POST'
      if (status !== 303 && !isRepeatable(body)) throw failed('a redirect, and the body was a stream')
      if ((status < 303 && isPost) || (status === 303 && !/^(get|head)$/i.test(method))) {
        method = 'GET'
        body = null
        for (const name of bodyHeaders) headers.delete(name)
      }
      if (next.origin !== url.origin) for (const name of originHeaders) headers.delete(name)
      url = next
    }
  }
}

function withoutFragment(url: URL): string {
  const bare = new URL(url)
  bare.hash = ''
  return bare.href
}

/** Tells whether a body can be sent a second time: anything but a stream. */
export function isRepeatable(body: unknown): boolean {
  return (
    body === null ||
    body === undefined ||
    typeof body === 'string' ||
    body instanceof ArrayBuffer ||
    ArrayBuffer.isView(body) ||
    body instanceof Blob ||
    body instanceof FormData ||
    body instanceof URLSearchParams
  )
}

function redirected(response: Response): Response {
  Object.defineProperty(response, 'redirected', { value: true })
  return response
}

function failed(why: string): TypeError {
  return new TypeError('fetch failed', { cause: new Error(why) })
}
