import { expect } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Token } from '../../src/core/token.ts'
import type { Ask, Grant, Input, Outcome, Protocol, Reply } from '../../src/protocol/protocol.ts'

/** 2030-01-01T00:00:00Z, when the token of these tests ends; it was got an hour before. */
export const expiresAt = 1_893_456_000_000

/** A failure as the manager throws it. */
export const failure = new TokctlError('login_required', 'profile "corp" needs a sign-in', {
  hint: 'run: tokctl login corp',
  profile: 'corp',
})

/** `token-1` of a profile that matches `git.example.com` and names no user. */
export function grant({
  username,
  match = ['https://git.example.com'],
  scheme = 'Bearer',
  ...token
}: Partial<Grant & Token> = {}): Grant {
  const made: Token = {
    accessToken: new Secret('token-1'),
    tokenType: 'Bearer',
    scope: undefined,
    obtainedAt: expiresAt - 3_600_000,
    expiresAt,
    refreshToken: undefined,
    ...token,
  }
  return { token: made, scheme, username, match }
}

/** An input with nothing in it but what is given. */
export function inputOf(given: Partial<Input>): Input {
  return { args: [], stdin: '', env: {}, version: '1.2.3', ...given }
}

/** What a protocol asks for; fails the test when it is of another kind. */
export function ask<K extends Ask['kind']>(
  protocol: Protocol,
  given: Partial<Input>,
  kind: K,
): Extract<Ask, { kind: K }> {
  const found = protocol.decode(inputOf(given))
  expect(found.kind).toBe(kind)
  return found as Extract<Ask, { kind: K }>
}

/** What a protocol says to an input, given the outcome of what it asks for; to a list that one grant. */
export function said(protocol: Protocol, given: Partial<Input>, outcome: Outcome = grant()): Reply {
  const found = protocol.decode(inputOf(given))
  if (found.kind === 'answered') return found.reply
  if (found.kind !== 'list') return protocol.encode(outcome, found)
  const grants = typeof outcome === 'string' || outcome instanceof TokctlError ? [] : [outcome]
  return protocol.encodeList!(grants, found)
}
