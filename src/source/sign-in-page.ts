import { printable } from '../core/errors.ts'

/** A page as it is answered to the browser. */
export interface SignInPage {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly html: string
}

/** How a sign-in ended, as the person at the browser is told. */
export type SignInEnd =
  | { readonly kind: 'signed_in'; readonly profile: string; readonly who: string | undefined }
  | { readonly kind: 'failed'; readonly profile: string; readonly reason: string }
  /** Somebody came with an answer that is not to our question; the sign-in goes on. */
  | { readonly kind: 'stranger' }
  /** The browser came back a second time. */
  | { readonly kind: 'again' }

const script = "history.replaceState(null, '', location.pathname)"

const style = `
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --text: #1c2024; --soft: #5b6470; --line: #e2e5e9;
  --good: #18794e; --good-soft: #e3f4ea; --bad: #b42318; --bad-soft: #fdeceb; --note: #8a5300; --note-soft: #fdf1dc }
@media (prefers-color-scheme: dark) {
  :root { --page: #0f1215; --card: #181c20; --text: #eceef0; --soft: #a0a8b1; --line: #2a3036;
    --good: #4cc38a; --good-soft: #12291e; --bad: #ff8f85; --bad-soft: #33181a; --note: #f1a10d; --note-soft: #2f220c }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 24px 16px; background: var(--page);
  color: var(--text); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
main { width: 100%; max-width: 30rem; padding: 40px 36px 28px; background: var(--card); border: 1px solid var(--line);
  border-radius: 16px; box-shadow: 0 1px 2px rgb(0 0 0 / 4%), 0 12px 32px rgb(0 0 0 / 7%); text-align: center }
.mark { width: 64px; height: 64px; margin: 0 auto 20px; border-radius: 50%; display: grid; place-items: center }
.mark svg { width: 30px; height: 30px; fill: none; stroke: currentColor; stroke-width: 2.6; stroke-linecap: round;
  stroke-linejoin: round }
.good .mark { color: var(--good); background: var(--good-soft) }
.bad .mark { color: var(--bad); background: var(--bad-soft) }
.note .mark { color: var(--note); background: var(--note-soft) }
h1 { margin: 0 0 8px; font-size: 1.5rem; line-height: 1.25; font-weight: 650; letter-spacing: -.01em }
h1, p { text-wrap: balance }
p { margin: 0 0 8px; color: var(--soft); overflow-wrap: anywhere }
.who { margin-bottom: 16px; color: var(--text); font-size: 1.0625rem; font-weight: 550 }
.reason { margin: 16px 0; padding: 12px 16px; border: 1px solid var(--line); border-radius: 10px; color: var(--text);
  text-align: left; text-wrap: wrap }
code { font: .9375em ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; color: var(--text) }
footer { margin-top: 24px; padding-top: 16px; border-top: 1px solid var(--line); font-size: .8125rem; color: var(--soft) }
`

const marks = {
  good: '<path d="M4 12.5l5.2 5.2L20 7"/>',
  bad: '<path d="M6 6l12 12M18 6L6 18"/>',
  note: '<path d="M12 6v8M12 18.2v.1"/>',
} as const

/**
 * Makes the page that the browser ends on: everything is in it, nothing is loaded, nothing is kept. A script of one line
 * takes the code out of the address bar and the history; the page is the same where it does not run.
 */
export async function signInPage(end: SignInEnd): Promise<SignInPage> {
  const { createHash } = await import('node:crypto')
  const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
  const { status, tone, title, body } = content(end)
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title} · tokctl</title>
<link rel="icon" href="data:,">
<style>${style}</style>
<script>${script}</script>
</head>
<body>
<main class="${tone}">
<div class="mark" aria-hidden="true"><svg viewBox="0 0 24 24">${marks[tone]}</svg></div>
<h1>${title}</h1>
${body}
<footer>This page comes from <code>tokctl</code> on your own machine.</footer>
</main>
</body>
</html>
`
  return {
    status,
    html,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': [
        "default-src 'none'",
        `style-src ${hash(style)}`,
        `script-src ${hash(script)}`,
        'img-src data:',
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
      ].join('; '),
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
    },
  }
}

interface Content {
  readonly status: number
  readonly tone: keyof typeof marks
  readonly title: string
  readonly body: string
}

function content(end: SignInEnd): Content {
  switch (end.kind) {
    case 'signed_in': {
      const who = end.who === undefined ? '' : `<p class="who"><bdi>${shown(end.who)}</bdi></p>\n`
      const body = `${who}<p>Profile <code>${shown(end.profile)}</code> is ready to use.</p>
<p>You can close this window and go back to the terminal.</p>`
      return { status: 200, tone: 'good', title: 'You are signed in', body }
    }
    case 'failed': {
      const body = `<p>Profile <code>${shown(end.profile)}</code> was not signed in.</p>
<p class="reason"><bdi>${shown(end.reason)}</bdi></p>
<p>You can close this window. The terminal says what to do next.</p>`
      return { status: 400, tone: 'bad', title: 'The sign-in did not work', body }
    }
    case 'stranger':
      return {
        status: 400,
        tone: 'note',
        title: 'This belongs to another sign-in',
        body: `<p>The answer that came with this page is not for the sign-in that waits here. It may be an older one’s.</p>
<p>Nothing was changed. Go on in the window that opened last, or start again in the terminal.</p>`,
      }
    case 'again':
      return {
        status: 400,
        tone: 'note',
        title: 'This sign-in was answered before',
        body: `<p>An answer serves once. The terminal says how the sign-in ended.</p>
<p>You can close this window.</p>`,
      }
  }
}

/** Text from elsewhere, made fit for a page. */
function shown(text: string): string {
  return printable(text).replace(/[&<>"']/g, char => `&#${char.charCodeAt(0)};`)
}
