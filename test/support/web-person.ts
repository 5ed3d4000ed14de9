import { Agent, fetch, type Response } from 'undici'

/** A person with a browser that knows cookies, redirects and forms, and nothing else. */
export interface WebPerson {
  /**
   * Goes to a page and through whatever forms come, until a page has none.
   *
   * @param choose - What is typed into fields by their names; the first page with a link of that text gets a click on it instead, and no form is filled in after that.
   * @returns The last page, and every address on the way.
   */
  visit(url: string, choose?: { typed?: Record<string, string>; click?: string }): Promise<Visit>
}

/** Where a visit ended. */
export interface Visit {
  readonly status: number
  readonly text: string
  readonly way: readonly string[]
}

const maxSteps = 30

/** Makes one who has no cookies yet. @param ca - PEM of an authority that the browser trusts. */
export function webPerson({ ca }: { ca?: string } = {}): WebPerson {
  const jar = new Map<string, string>()
  const dispatcher = new Agent({ connect: ca === undefined ? {} : { ca } })

  async function go(url: string, form: URLSearchParams | undefined): Promise<Response> {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, {
      method: form === undefined ? 'GET' : 'POST',
      redirect: 'manual',
      dispatcher,
      // Bun's, which knows no dispatcher.
      ...(ca === undefined ? {} : { tls: { ca } }),
      headers: { accept: 'text/html', ...(cookie === '' ? {} : { cookie }) },
      ...(form === undefined ? {} : { body: form }),
    })
    for (const set of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(set) ?? []
      if (value === '') jar.delete(name)
      else jar.set(name, value)
    }
    return response
  }

  return {
    async visit(start, { typed = {}, click } = {}) {
      const way: string[] = []
      let url = start
      let form: URLSearchParams | undefined
      let clicked = false
      for (let step = 0; step < maxSteps; step++) {
        way.push(url)
        const response = await go(url, form)
        form = undefined
        const location = response.headers.get('location')
        if (location !== null) {
          url = new URL(location, url).href
          continue
        }
        const text = await response.text()
        const link = click === undefined ? undefined : linkNamed(text, click)
        if (link !== undefined) {
          clicked = true
          url = new URL(link, url).href
          continue
        }
        const found = readForm(text, { login: 'jane', password: 'secret', ...typed })
        if (found === undefined || clicked || response.status >= 400)
          return { status: response.status, text, way }
        form = found.fields
        url = new URL(found.action, url).href
      }
      throw new Error(`more than ${maxSteps} pages: ${way.join('\n')}`)
    },
  }
}

function linkNamed(html: string, text: string): string | undefined {
  const links = [...html.matchAll(/<a\s[^>]*href="([^"]*)"[^>]*>([^<]*)<\/a>/g)]
  return links.find(([, , shown]) => shown?.includes(text))?.[1]?.replaceAll('&amp;', '&')
}

function readForm(
  html: string,
  typed: Record<string, string>,
): { action: string; fields: URLSearchParams } | undefined {
  const form = /<form([^>]*)>([\s\S]*?)<\/form>/.exec(html)
  if (form === null) return undefined
  const attribute = (tag: string, name: string): string | undefined =>
    new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1]
  const fields = new URLSearchParams()
  for (const [tag] of (form[2] ?? '').matchAll(/<input[^>]*>/g)) {
    const name = attribute(tag, 'name')
    if (name !== undefined) fields.set(name, attribute(tag, 'value') ?? typed[name] ?? '')
  }
  return { action: attribute(form[1] ?? '', 'action')?.replaceAll('&amp;', '&') ?? '', fields }
}
