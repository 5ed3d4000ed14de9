import { randomBytes } from 'node:crypto'
import { accessSync, constants, lstatSync, readFileSync, unlinkSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { residentTokens } from '../library/resident-tokens.ts'
import { loadProxies } from '../profile/load.ts'
import { isLoopback, match, parseUrl } from '../profile/match.ts'
import {
  defaultMaxBody,
  type ListenAddress,
  type ProxySettings,
  parseListen,
  parseSize,
} from '../profile/proxy-settings.ts'
import { scheme } from '../profile/scheme.ts'
import { socketTable } from '../proxy/peer-user.ts'
import { startProxy } from '../proxy/proxy.ts'
import type { ProxyRoute } from '../proxy/route.ts'
import { proverOf } from '../source/dpop.ts'
import type { CommandContext, Define } from './command.ts'
import { writePart } from './io.ts'
import { warn } from './report.ts'
import { notifyServiceManager } from './service-manager.ts'
import { holdSignals } from './signals.ts'

/** 32 bytes in base64url. */
const secretLength = 43

interface ProxyFlags {
  readonly listen?: string
  readonly upstream?: string
  readonly clientAuth?: string
  readonly maxBody?: string
  readonly caFile?: string
}

/** `tokctl proxy`: a loopback reverse proxy that adds the token. */
export const define: Define = (program, run) => {
  program
    .command('proxy')
    .summary('a proxy that adds tokens')
    .description(
      'Passes requests of this machine on to one upstream, with the token of a profile.\n' +
        'A token that is refused (401) is renewed once for all requests in flight.\n' +
        'Prints where it listens, and serves until it is ended.',
    )
    .argument(
      '[names...]',
      'with --upstream a profile; else tables [proxy.NAME], each of them where none is named',
    )
    .option('--upstream <url>', 'its path is put before that of requests')
    .option('--listen <address>', '127.0.0.1:PORT, [::1]:PORT, unix:/path, systemd')
    .option('--client-auth <file>', 'ask clients for the secret written there')
    .option('--max-body <size>', 'longest body of a request (default: 1GiB)')
    .option('--ca-file <path>', 'authorities for the upstream, beside the usual ones')
    .addHelpText(
      'after',
      '\nExample:\n  tokctl proxy corp --upstream https://api.example.com --listen 127.0.0.1:8080',
    )
    .action((names: string[], flags: ProxyFlags) => run(context => serve(context, names, flags)))
}

async function serve(context: CommandContext, names: readonly string[], flags: ProxyFlags): Promise<void> {
  const { app, clock, environment, options, signal, renewHere } = context
  const chosen =
    flags.upstream === undefined
      ? await fromTables(context, names, flags)
      : [fromFlags(names, flags, environment)]
  const tokens = residentTokens({ app, environment, clock, configFlag: options.config, warn })
  renewHere(tokens.renew)
  /** Of each file that was named: two routes may name the same. */
  const secrets = new Map<string, Secret>()
  try {
    const routes: ProxyRoute[] = []
    for (const settings of chosen) {
      const { client_auth: path } = settings
      if (path !== undefined && !secrets.has(path)) {
        secrets.set(path, new Secret(randomBytes(32).toString('base64url')))
      }
      routes.push(await routeOf(settings, context, path === undefined ? undefined : secrets.get(path)))
    }
    for (const path of secrets.keys()) refuseOtherFile(path, environment)
    const uid = tellsUsers(environment) ? environment.uid : undefined
    const proxy = await startProxy(routes, { clock, tokens, uid })
    try {
      // What listens at the same address already has its own secret there.
      for (const [path, secret] of secrets) writeSecret(path, secret, environment)
      const stopping = signal()
      for (const address of proxy.addresses) writePart(`${address}\n`)
      await notifyServiceManager('READY=1', environment)
      if (!stopping.aborted)
        await new Promise<void>(resolve => stopping.addEventListener('abort', () => resolve()))
    } finally {
      const release = holdSignals()
      await notifyServiceManager('STOPPING=1', environment)
      await proxy.close()
      release()
      for (const [path, secret] of secrets) removeSecret(path, secret)
    }
  } finally {
    tokens.clear()
  }
}

function fromFlags(names: readonly string[], flags: ProxyFlags, { cwd }: Environment): ProxySettings {
  const [profile, ...others] = names
  if (profile === undefined || others.length > 0) {
    throw new TokctlError('usage', '--upstream is for one profile', {
      hint: 'write: tokctl proxy PROFILE --upstream URL, or a table [proxy.NAME] for each route',
    })
  }
  const absolute = (path: string): string => (isAbsolute(path) ? path : join(cwd, path))
  const max_body = flags.maxBody === undefined ? defaultMaxBody : parseSize(flags.maxBody)
  if (max_body === undefined) {
    throw new TokctlError('usage', `--max-body: "${flags.maxBody?.slice(0, 40)}" is not a size`, {
      hint: 'write it like --max-body 64KiB, 10MiB or 2GiB',
    })
  }
  return {
    name: profile,
    profile,
    listen: readListen(flags.listen ?? '127.0.0.1:0'),
    upstream: (flags.upstream ?? '').replace(/\/+$/, ''),
    max_body,
    ...(flags.clientAuth === undefined ? {} : { client_auth: absolute(flags.clientAuth) }),
    ...(flags.caFile === undefined ? {} : { ca_file: absolute(flags.caFile) }),
  }
}

async function fromTables(
  { environment, options }: CommandContext,
  names: readonly string[],
  flags: ProxyFlags,
): Promise<ProxySettings[]> {
  const tables = await loadProxies(environment, options.config)
  const [first] = Object.keys(flags)
  if (first !== undefined && (names.length !== 1 || first !== 'listen')) {
    const flag = first.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
    throw new TokctlError('usage', `--${flag} goes with --upstream`, {
      hint: 'write: tokctl proxy PROFILE --upstream URL',
    })
  }
  if (tables.size === 0) {
    throw new TokctlError('usage', 'there is nothing to listen for', {
      hint: 'write: tokctl proxy PROFILE --upstream URL, or a table [proxy.NAME] with profile, listen and upstream',
    })
  }
  const chosen = names.length > 0 ? names : [...tables.keys()]
  return chosen.map(name => {
    const found = tables.get(name)
    if (found === undefined) {
      throw new TokctlError('usage', `there is no table [proxy.${name.slice(0, 64)}]`, {
        hint: `name some of these, or none for each of them: ${[...tables.keys()].join(', ')}; a profile wants --upstream`,
      })
    }
    return flags.listen === undefined ? found : { ...found, listen: readListen(flags.listen) }
  })
}

function readListen(text: string): ListenAddress {
  const listen = parseListen(text)
  if (typeof listen !== 'string') return listen
  throw new TokctlError('usage', `--listen: ${listen}`, { hint: 'write: --listen 127.0.0.1:8080' })
}

async function routeOf(
  settings: ProxySettings,
  { app, runtime, environment, clock }: CommandContext,
  clientSecret: Secret | undefined,
): Promise<ProxyRoute> {
  const { name, listen, upstream, max_body } = settings
  const profile = await app.profile(settings.profile)
  if ('members' in profile) throw namedMembers(name, profile.name)
  const parts = parseUrl(upstream)
  if ('problem' in parts || parts.query !== '' || parts.fragment !== '') {
    const why = 'problem' in parts ? parts.problem : 'a query or a fragment does not belong in it'
    throw new TokctlError('usage', `--upstream: ${why}`, {
      hint: 'write: --upstream https://api.example.com',
    })
  }
  if (parts.scheme === 'http' && !isLoopback(parts.host)) {
    throw new TokctlError('usage', `--upstream: plain http carries a token for everyone to read`, {
      hint: `write: --upstream https://${parts.host}`,
    })
  }
  // Who wrote down where a token may go means it here too.
  if (profile.match.length > 0 && match(upstream, [profile]) === undefined) {
    throw new TokctlError(
      'config_invalid',
      `proxy "${name}": the match of profile "${profile.name}" does not cover ${upstream}`,
      { hint: `add "${upstream}" to its match, or take another profile`, profile: profile.name },
    )
  }
  if (listen.kind === 'inherited' && !isActivated(environment)) {
    throw new TokctlError('usage', `proxy "${name}": the service manager opened no socket`, {
      hint: 'start it by a .socket unit with one ListenStream, or name an address: --listen 127.0.0.1:8080',
    })
  }
  if (listen.kind === 'inherited' && !runtime.takesOpenSockets) {
    const what = 'takes no socket that a service manager opened'
    throw new TokctlError('usage', `proxy "${name}": this program, which is one file, ${what}`, {
      hint: 'start the one on Node, or name an address: --listen 127.0.0.1:8080',
    })
  }
  const url = new URL(upstream)
  return {
    name,
    profile: profile.name,
    listen,
    upstream: { origin: url.origin, host: url.host, path: parts.path.replace(/\/+$/, '') },
    ...(await app.upstream(url.origin, settings, profile)),
    authorization(token) {
      // The configuration may have changed meanwhile.
      if (token.members !== undefined) throw namedMembers(name, profile.name)
      return `${scheme(token, profile)} ${token.accessToken.expose()}`
    },
    prover: proverOf(url.origin, clock),
    clientSecret,
    maxBodyBytes: max_body,
  }
}

function namedMembers(proxy: string, profile: string): TokctlError {
  const message = `proxy "${proxy}": profile "${profile}" yields named members, which are no token for a URL`
  return new TokctlError('config_invalid', message, { hint: 'name a profile without members', profile })
}

/** Tells whether the system says whose a connection is. */
function tellsUsers({ platform }: Environment): boolean {
  if (platform !== 'linux') return false
  try {
    accessSync(socketTable, constants.R_OK)
    return true
  } catch {
    return false
  }
}

/** @see sd_listen_fds(3) */
function isActivated({ env, pid }: Environment): boolean {
  return env['LISTEN_PID'] === String(pid) && env['LISTEN_FDS'] === '1'
}

/** Leaves alone what is no secret of an earlier start: named by mistake, it would be replaced, and taken away at the end. */
function refuseOtherFile(path: string, environment: Environment): void {
  try {
    if (isEarlierSecret(path, environment)) return
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    // What cannot be there cannot be written either, which is said then.
    if (code === 'ENOENT' || code === 'ENOTDIR') return
  }
  throw new TokctlError('config_invalid', `${path} is no secret of clients, and stays as it is`, {
    hint: 'name another file for it, or remove that one',
  })
}

function isEarlierSecret(path: string, { uid, platform }: Environment): boolean {
  const found = lstatSync(path)
  if (!found.isFile() || (found.size !== 0 && found.size !== secretLength)) return false
  if (platform !== 'win32' && (found.uid !== uid || (found.mode & 0o077) !== 0)) return false
  return /^(?:[\w-]{43})?$/.test(readFileSync(path, 'latin1'))
}

function writeSecret(path: string, secret: Secret, { pid }: Environment): void {
  try {
    writeFileAtomic(path, secret.expose(), pid)
  } catch (error) {
    const { code = 'error' } = error as NodeJS.ErrnoException
    throw new TokctlError('config_invalid', `the secret of clients cannot be written to ${path} (${code})`)
  }
}

function removeSecret(path: string, secret: Secret): void {
  try {
    const found = lstatSync(path)
    if (!found.isFile() || found.size !== secretLength) return
    if (new Secret(readFileSync(path, 'utf8')).equals(secret)) unlinkSync(path)
  } catch {
    // Another proxy has written its own there, or it is gone.
  }
}
