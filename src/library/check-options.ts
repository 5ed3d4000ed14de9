import { TokctlError } from '../core/errors.ts'
import type { GetOptions, TokctlOptions } from './api.ts'

// For callers whose compiler did not look: JavaScript, or a value from elsewhere.

const stores: readonly unknown[] = ['auto', 'keychain', 'file', 'memory', undefined]

/** @throws {TokctlError} `usage` */
export function checkOptions({ config, store, timeoutMs }: TokctlOptions): void {
  if (config !== undefined && typeof config !== 'string') throw wrong('config must be a path')
  if (!stores.includes(store)) throw wrong('store must be "auto", "keychain", "file" or "memory"')
  if (timeoutMs !== undefined && !isDuration(timeoutMs)) {
    throw wrong('timeoutMs must be a number of milliseconds, not below 0')
  }
}

/** @throws {TokctlError} `usage` */
export function checkAsk({ minValidityMs }: GetOptions): void {
  if (minValidityMs === undefined || isDuration(minValidityMs)) return
  throw wrong('minValidityMs must be a number of milliseconds, not below 0')
}

function isDuration(value: unknown): boolean {
  return typeof value === 'number' && value >= 0
}

function wrong(message: string): TokctlError {
  return new TokctlError('usage', message)
}
