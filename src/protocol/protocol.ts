import type { Credential, CredentialQuery } from '../core/credential.ts'
import { TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { isTokenText, type Token } from '../core/token.ts'

// Codecs: what another tool says becomes an ask, an outcome becomes what that tool reads. Rules:
//  - No I/O, no process, no clock, no manager: the same input always gives the same answer.
//  - Lines end with LF alone. A value that holds CR, NUL or another control character is refused, read or written.
//  - Not being responsible is no failure: each protocol has its own quiet way to say it.

/** What a tool gave. */
export interface Input {
  /** After the name of the protocol. */
  readonly args: readonly string[]
  /** To its end; empty where the protocol sends nothing. */
  readonly stdin: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Of this program. */
  readonly version: string
}

/** How the tool told which profile it means. */
export type Wanted = { readonly url: string } | { readonly profile: string }

/** What a tool wants. */
export type Ask =
  | {
      readonly kind: 'get'
      readonly of: Wanted
      /** The user that was named; a profile with another one is not meant. */
      readonly user?: string | undefined
      /** `obtainedAt` of a token that was answered before and refused. */
      readonly refused?: string | undefined
      /** What to look for among the kept credentials where no profile is meant. */
      readonly kept?: CredentialQuery
    }
  /** The service refused that very secret. */
  | {
      readonly kind: 'reject'
      readonly of: Wanted
      readonly user?: string | undefined
      /** `undefined`: it was not told, or is no token. */
      readonly secret: Secret | undefined
      /** What to forget where no profile is meant. */
      readonly kept?: CredentialQuery
    }
  /** The tool wants something kept: our own token, perhaps. */
  | { readonly kind: 'store'; readonly of: Wanted; readonly secret: Secret }
  /** The tool wants its own credential kept, unless a profile has one for that place. */
  | {
      readonly kind: 'keep'
      readonly of: Wanted
      readonly user?: string | undefined
      readonly credential: Credential
      /** How long it is kept at most, in milliseconds; `undefined`: until it expires or is refused. */
      readonly forMs?: number | undefined
    }
  /** All that is at hand, without a request. */
  | { readonly kind: 'list' }
  /** Where credentials are kept. */
  | { readonly kind: 'places' }
  /** Answered already. */
  | { readonly kind: 'answered'; readonly reply: Reply }

/** What a tool reads. */
export interface Reply {
  readonly stdout: string
  readonly exitCode: number
  /** What the tool reads again before it asks the next time. */
  readonly file?: {
    readonly path: string
    readonly content: string
    /** The tool reads it there and not from stdout, so that it is no answer unless it is written. */
    readonly needed: boolean
  }
}

/** A token, and what its profile says about handing it out. */
export interface Grant {
  readonly token: Token
  /** That of the `Authorization` header. */
  readonly scheme: string
  /** The profile's. */
  readonly username: string | undefined
  /** The profile's URLs, as they are written there. */
  readonly match: readonly string[]
}

/** `done`: kept, forgotten or rejected as asked; `not_mine`: no profile is responsible. */
export type Outcome = Grant | 'done' | 'not_mine' | TokctlError

/** The language of one tool. `A` is what it remembers of the question beside the ask. */
export interface Protocol<A extends Ask = Ask> {
  /** Whether stdin carries something, so that it is read: to its end, or to the first blank line. */
  reads(args: readonly string[]): boolean | 'to_blank_line'
  /**
   * Says first thing what it speaks; then each line of stdin is a question, answered before the next is read.
   * `undefined` where these arguments ask one question.
   */
  greeting?(args: readonly string[]): string | undefined
  /** @throws {TokctlError} `usage` for what is no question in this protocol */
  decode(input: Input): A
  /**
   * @throws {TokctlError} The failure itself where the protocol has no words for it, or anything that must not be written:
   *   it is told on stderr, in the usual way
   */
  encode(outcome: Outcome, ask: A): Reply
  /** For an ask of the kind `list`. */
  encodeList?(grants: readonly Grant[], ask: A): Reply
  /** For an ask of the kind `places`. */
  encodePlaces?(places: readonly string[]): Reply
  /** For an ask of the kind `get` with `kept`, where that was found; one that expired comes without its secrets. */
  encodeKept?(found: Credential, ask: A): Reply
}

/** For tools that want a user where neither they nor the profile names one. Most servers look at the token alone. */
export const anyUser = 'oauth2'

/** Done, with these words. */
export function reply(stdout: string, exitCode = 0): Reply {
  return { stdout, exitCode }
}

/** Nothing to do and nothing to say. */
export const silence: Ask & { readonly kind: 'answered' } = { kind: 'answered', reply: reply('') }

/** Tells whether a text can be a value on the wire: no control character, so it stays on its line. */
export function isWireText(text: string): boolean {
  return !/[\u0000-\u001f\u007f-\u009f]/.test(text)
}

/**
 * The token's text, fit for a line and a header.
 *
 * @throws {TokctlError} `invalid_response`; `usage` for named members
 */
export function tokenText({ token }: Grant): string {
  if (token.members !== undefined) {
    throw new TokctlError('usage', 'this profile yields named members, and the tool asks for one token', {
      hint: 'name a profile without members',
    })
  }
  const text = token.accessToken.expose()
  if (isTokenText(text)) return text
  throw new TokctlError('invalid_response', 'the token holds a character that cannot be handed on')
}

/** The value of the `Authorization` header. @throws {TokctlError} `invalid_response` */
export function authorization(grant: Grant): string {
  return `${grant.scheme} ${tokenText(grant)}`
}

/**
 * The user to tell: the one that was asked for, else the profile's, else any.
 *
 * @throws {TokctlError} `config_invalid`
 */
export function userText({ username }: Grant, asked?: string | undefined): string {
  const user = asked ?? username ?? anyUser
  if (isWireText(user)) return user
  throw new TokctlError('config_invalid', 'username: a control character cannot be handed on')
}

/** Reads a JSON object; `undefined` for anything else. */
export function readObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const found: unknown = JSON.parse(text)
    return typeof found === 'object' && found !== null && !Array.isArray(found)
      ? (found as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}

/**
 * Takes the profile from the arguments of a protocol that names it.
 *
 * @throws {TokctlError} `usage`
 */
export function profileArgument(protocol: string, args: readonly string[]): { readonly profile: string } {
  const [profile, ...rest] = args
  if (profile !== undefined && profile !== '' && rest.length === 0) return { profile }
  throw new TokctlError('usage', `helper ${protocol}: expected the name of one profile`, {
    hint: `run: tokctl helper ${protocol} PROFILE`,
  })
}
