import { liveSecrets } from './secret.ts'

// The one layer between what is known and what is shown. Rules:
//  - Text from elsewhere goes through `printable`, which redacts before it cuts: half a secret is one too.
//  - Every message, warning and trace is redacted once more where it is printed, by `tell` in `cli/io.ts`: a slip of our own
//    does not leave the process. Only what a person has to type or open is written as it is.
//  - What is not known to be harmless is not shown at all: `source/wire-log.ts` names what is.

/** What stands where a secret stood. */
export const redacted = '[redacted]'

/** Shorter ones are words as well, and would tear our own messages apart. */
const shortestInOurWords = 8
/** A server that quotes what it was sent is taken at its word down to this length; shorter is no secret. */
const shortestQuoted = 4

/** Takes every live secret out of a text that came from elsewhere. */
export function redactQuoted(text: string): string {
  return redactAll(text, shortestQuoted)
}

/** Takes every live secret out of a text of our own. */
export function redactOwn(text: string): string {
  return redactAll(text, shortestInOurWords)
}

function redactAll(text: string, shortest: number): string {
  const forms = new Set<string>()
  for (const secret of liveSecrets()) {
    for (const form of formsOf(secret)) if (form.length >= shortest) forms.add(form)
  }
  let clean = text
  // Longest first: what is left of an encoded one, once the plain one is taken out of it, would still tell.
  for (const form of [...forms].sort((a, b) => b.length - a.length)) {
    for (const spelled of spellings(form)) clean = clean.replaceAll(spelled, redacted)
  }
  return clean
}

/** A secret as it may come back from whoever quotes it: as it is, and as it was written into a request. */
function formsOf(whole: string): string[] {
  // Nobody quotes the line break that a file or a program ends with.
  const value = whole.trim()
  const form = new URLSearchParams([['', value]]).toString().slice(1)
  const inUrl = form.replaceAll('+', '%20')
  // encodeURIComponent, which would throw at half a surrogate pair.
  const asComponent = inUrl.replace(/%(?:2[1789]|7E)/g, code => decodeURIComponent(code))
  const inJson = JSON.stringify(value).slice(1, -1)
  // A key in PEM may be quoted by its lines; those of its frame are no secret.
  const lines = value.includes('-----BEGIN ')
    ? value.split(/\r?\n/).filter(line => !line.startsWith('--'))
    : []
  return [value, form, inUrl, asComponent, inJson, ...lines.filter(line => line.length >= 16)]
}

// Both cases of a percent code mean the same byte, and servers write both.
function spellings(form: string): string[] {
  const codes = /%[0-9A-F]{2}/g
  return codes.test(form) ? [form, form.replace(codes, code => code.toLowerCase())] : [form]
}
