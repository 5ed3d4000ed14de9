import { createApp, timingOf } from './app.ts'
import { readEnvironment } from './cli/io.ts'
import type { Notices } from './core/ports.ts'
import { Secret } from './core/secret.ts'
import { systemClock } from './core/time.ts'
import type { Tokctl, TokctlOptions } from './library/api.ts'
import { authorizedFetch } from './library/authorized-fetch.ts'
import { createAuthorizer } from './library/authorizer.ts'
import { checkAsk, checkOptions } from './library/check-options.ts'
import { createFunctionManager, functionProfile } from './library/function-manager.ts'
import { residentTokens } from './library/resident-tokens.ts'
import type { Source } from './library/source-from.ts'
import { undiciInterceptor } from './library/undici-interceptor.ts'

export { type ErrorCode, type ErrorDetails, TokctlError } from './core/errors.ts'
export type { GetOptions, Interceptor, Tokctl, TokctlOptions } from './library/api.ts'
export {
  type Source,
  type SourceContext,
  type SourceOptions,
  type SourceToken,
  sourceFrom,
} from './library/source-from.ts'
export type { Token } from './library/token.ts'

/**
 * Opens the token cache. Nothing is read before the first call, and nothing keeps the process alive after the last.
 *
 * @throws {TokctlError} `usage` for an option that is none of what it may be
 *
 * @example
 * const tokens = createTokctl()
 * const { accessToken } = await tokens.get('corp')
 */
export function createTokctl(options: TokctlOptions = {}): Tokctl {
  checkOptions(options)
  const { config, store, sources, timeoutMs, onWarning = () => {} } = options
  const environment = readEnvironment(undefined)
  const clock = systemClock
  const notices: Notices = {
    warn: onWarning,
    trace() {},
    hold: () => () => {},
    onMiss() {},
    waiting() {},
  }
  // This process stays: it renews by itself, and what fails is told by the outcome at the next call.
  const renew = (name: string): Promise<unknown> => cache.renew(name)
  const app = createApp({
    environment,
    clock,
    configFlag: config,
    storeFlag: store,
    notices,
    lockCalls: async () =>
      (await import('./core/lock-addon.ts')).loadLockAddon(environment.platform, environment.arch),
    async renewLater(_, name, force) {
      if (!force) return { ended: cache.renew(name) }
      const renewal = app.profile(name).then(profile => app.manager.get(profile, { force }))
      return { ended: renewal.catch(() => {}) }
    },
  })
  const source = (name: string): Source | undefined =>
    isSource(sources)
      ? sources
      : sources !== undefined && Object.hasOwn(sources, name)
        ? sources[name]
        : undefined
  const cache = residentTokens({
    app,
    environment,
    clock,
    configFlag: config,
    warn: onWarning,
    timeoutMs,
    functions: {
      profile(name) {
        const found = source(name)
        return found && functionProfile(name, found)
      },
      manager: createFunctionManager({
        clock,
        pid: environment.pid,
        notices,
        source,
        timing: profile => timingOf(profile, environment),
        renew,
      }),
    },
  })

  return {
    get(name, ask) {
      try {
        if (ask !== undefined) checkAsk(ask)
      } catch (error) {
        return Promise.reject(error)
      }
      if (ask?.force !== true && ask?.signal?.aborted !== true) {
        const entry = cache.peekEntry(name, ask?.minValidityMs)
        if (entry !== undefined) return entry.promised
      }
      return cache.getEntry(name, ask).then(entry => entry.shown)
    },
    reject: (name, token) =>
      cache.reject(name, new Secret(typeof token === 'string' ? token : token.accessToken)),
    forget: name => cache.forget(name),
    fetch: name => authorizedFetch(createAuthorizer(cache, name, clock), () => globalThis.fetch),
    interceptor: (name, { origin } = {}) => undiciInterceptor(createAuthorizer(cache, name, clock), origin),
    close() {
      cache.clear()
      app.close()
    },
  }
}

function isSource(sources: TokctlOptions['sources']): sources is Source {
  return typeof sources?.fetch === 'function'
}
