import { TokctlError } from '../core/errors.ts'

// Locked, absent, denied and too slow are four messages and four codes, the same for every platform's keychain.

const another = 'choose kind = "file" under [store]'

/** There is no keychain on this machine, or not in this session: the one failure for which `auto` may take files. */
export class KeychainAbsent extends TokctlError {
  constructor(why: string, remedy: string) {
    super('store_unavailable', `there is no keychain here: ${why}`, { hint: `${remedy}, or ${another}` })
  }
}

/** There is one, but it cannot be used as it is. */
export function unusable(what: string, remedy: string): TokctlError {
  return new TokctlError('store_unavailable', what, { hint: `${remedy}, or ${another}` })
}

/** It is locked; nobody was asked to unlock it. */
export function locked(remedy: string): TokctlError {
  return new TokctlError('store_locked', 'the keychain is locked', {
    hint: `unlock it (${remedy}), or ${another}`,
  })
}

/** It says no. */
export function denied(why: string): TokctlError {
  return new TokctlError('store_denied', `the keychain denies access: ${why}`, {
    hint: `allow it in the keychain's settings, or ${another}`,
  })
}

/** It did not answer in time. */
export function tooSlow(timeoutMs: number): TokctlError {
  return new TokctlError('store_timeout', `the keychain did not answer within ${timeoutMs / 1000} s`, {
    hint: `see whether its service hangs or waits for somebody, or ${another}`,
  })
}

/** Anything else; `what` is a whole message. */
export function failed(what: string): TokctlError {
  return new TokctlError('store_failed', what, { hint: `see the log of the keychain, or ${another}` })
}
