import { lstatSync, readdirSync, unlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { type EpochMs, formatInstant } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import { type OutputFile, writeOutputFile } from './output-file.ts'

/** What a token file may look like. */
export const fileFormats = ['token', 'json', 'curl', 'netrc'] as const
export type FileFormat = (typeof fileFormats)[number]

/** What is written into it. */
export interface FileForm {
  readonly profile: string
  /** Text with `{token}`, `{token_type}`, `{scope}`, `{expires_at}` and `{profile}` in it; stands above the format. */
  readonly template: string | undefined
  readonly format: FileFormat
  /** Of the `Authorization` header. */
  scheme(token: Token): string
  /** The lines of a netrc. @throws {TokctlError} where it has no room for the token */
  netrc(token: Token): string
}

/**
 * The content of a token file. Without a line feed at its end where it is the bare token: what reads it takes all of it.
 *
 * @throws {TokctlError} `usage` for a form that has no room for the token
 */
export function fileContent(token: Token, form: FileForm): string {
  const { template, format } = form
  const text = token.accessToken.expose()
  if (template !== undefined) return fill(template, token, form)
  if (token.members !== undefined && format !== 'token') {
    const message = `profile "${form.profile}" yields named members, which "${format}" has no room for`
    throw new TokctlError('usage', message, { profile: form.profile })
  }
  const { expiresAt } = token
  switch (format) {
    case 'token':
      return text
    case 'json':
      return `${JSON.stringify({
        profile: form.profile,
        access_token: text,
        token_type: token.tokenType,
        scope: token.scope ?? null,
        expires_at: expiresAt === undefined ? null : formatInstant(expiresAt),
        obtained_at: formatInstant(token.obtainedAt),
      })}\n`
    case 'curl':
      return `header = "Authorization: ${form.scheme(token)} ${text.replace(/["\\]/g, '\\$&')}"\n`
    case 'netrc':
      return form.netrc(token)
  }
}

function fill(template: string, token: Token, { profile }: FileForm): string {
  const { accessToken, tokenType, scope = '', expiresAt } = token
  const values: Readonly<Record<string, string>> = {
    token: accessToken.expose(),
    token_type: tokenType,
    scope,
    expires_at: expiresAt === undefined ? '' : formatInstant(expiresAt),
    profile,
  }
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole)
}

/** No write takes this long. */
const writtenMs = 60_000

/**
 * Writes a file that holds a token. What a write that was cut short left beside it holds a token too, and goes with the next.
 *
 * @throws {TokctlError} as `writeOutputFile`
 */
export function writeTokenFile(
  file: OutputFile,
  content: string | Uint8Array,
  pid: number,
  now: EpochMs,
): void {
  writeOutputFile(file, content, pid)
  removeLeftovers(file.path, now)
}

function removeLeftovers(path: string, now: EpochMs): void {
  const start = `${basename(path)}.`
  try {
    for (const name of readdirSync(dirname(path))) {
      if (!name.startsWith(start) || !/^\d+\.\d+\.tmp$/.test(name.slice(start.length))) continue
      const leftover = join(dirname(path), name)
      if (now - lstatSync(leftover).mtimeMs > writtenMs) unlinkSync(leftover)
    }
  } catch {
    // Another one's directory, or another watch was faster.
  }
}
