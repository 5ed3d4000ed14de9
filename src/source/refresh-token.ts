import { TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import type { Token } from '../core/token.ts'
import type { RefreshTokenProfile } from '../profile/profile.ts'
import type { FetchRequest, Kept, SourcePorts, TokenSource } from './source.ts'
import { readRenewal, refresh } from './with-refresh.ts'

/**
 * Starts from a refresh token that was handed over once. From then on the newest one is kept; the handed-over one is used
 * again only if it changed, and need not be there any more.
 *
 * `fetch` throws `login_required` where that one was used before and nothing is kept of it, and what `refresh` throws.
 */
export function refreshToken(profile: RefreshTokenProfile, ports: SourcePorts): TokenSource {
  const { name } = profile

  // What is handed over once is put away again: `undefined` where it cannot be read and is not needed either.
  async function handOver({ kept, signal }: FetchRequest): Promise<Secret | undefined> {
    try {
      return await ports.resolve(profile.refresh_token, signal)
    } catch (error) {
      const isNeeded = kept?.seed === undefined || kept.refreshToken === undefined
      if (isNeeded || signal?.aborted === true || !(error instanceof TokctlError)) throw error
      ports.trace(`${error.message}: going on from the refresh token that is kept`)
      return undefined
    }
  }

  async function renew(
    request: FetchRequest,
    current: Secret,
    { dpopKey, seed }: Pick<Kept, 'dpopKey' | 'seed'>,
  ): Promise<Token> {
    try {
      return await refresh(profile, current, ports, {
        ...request,
        kept: { refreshToken: current, dpopKey, seed },
      })
    } catch (error) {
      if (!(error instanceof TokctlError) || error.code !== 'invalid_grant') throw error
      throw refused(name)
    }
  }

  return {
    async fetch(request) {
      const handedOver = await handOver(request)
      if (handedOver === undefined) return renew(request, request.kept!.refreshToken!, request.kept!)
      const seed = await digest(handedOver)
      const kept = request.kept?.seed === seed ? request.kept : undefined
      if (kept !== undefined && kept.refreshToken === undefined)
        throw usedUp(name, 'its session was forgotten')
      // A record that is damaged, or was removed, does not make the handed-over one a new one.
      if (request.kept?.seed === undefined && (await request.renewal?.knowsSeed(seed)))
        throw usedUp(name, 'what came of it cannot be read any more')
      if (kept === undefined && request.kept?.seed !== undefined) {
        ports.trace('another refresh token was handed over: starting from that one')
      }
      return renew(request, kept?.refreshToken ?? handedOver, { dpopKey: kept?.dpopKey, seed })
    },
    async readRenewal(answer, kept) {
      const token = readRenewal(profile, answer, kept)
      if (token.refreshToken !== undefined) return token
      // The very first renewal, and nothing rotates: the handed-over one goes on.
      const handedOver = await ports.resolve(profile.refresh_token)
      return (await digest(handedOver)) === kept.seed ? { ...token, refreshToken: handedOver } : token
    },
  }
}

async function digest(secret: Secret): Promise<string> {
  const { createHash } = await import('node:crypto')
  return createHash('sha256').update(secret.expose()).digest('hex')
}

function hintFor(name: string): string {
  return `put a new refresh token in the place that refresh_token names, then run: tokctl refresh ${name}`
}

function usedUp(name: string, why: string): TokctlError {
  return new TokctlError(
    'login_required',
    `profile "${name}" needs a new refresh token: the one that was handed over is used up, and ${why}`,
    { hint: hintFor(name) },
  )
}

function refused(name: string): TokctlError {
  return new TokctlError(
    'login_required',
    `profile "${name}" needs a new refresh token: the last one was refused (invalid_grant)`,
    { hint: hintFor(name) },
  )
}
