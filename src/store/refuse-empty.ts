import { TokctlError } from '../core/errors.ts'

/** @throws {TokctlError} `store_failed`: an empty item reads as none, in every store */
export function refuseEmpty(value: string): void {
  if (value === '') throw new TokctlError('store_failed', 'an empty value cannot be kept')
}
