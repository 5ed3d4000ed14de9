import type { Secret } from '../core/secret.ts'
import type { TokenRef } from '../profile/profile.ts'
import type { SourcePorts } from './source.ts'

/**
 * Reads a token that another one is made from: out of its reference, or that of another profile from the same cache.
 *
 * @throws {TokctlError} what `resolve` or `tokenOf` throws
 */
export async function readTokenRef(
  ref: TokenRef,
  { resolve, tokenOf }: Pick<SourcePorts, 'resolve' | 'tokenOf'>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Secret> {
  return 'profile' in ref ? (await tokenOf(ref.profile, timeoutMs, signal)).accessToken : resolve(ref, signal)
}
