import type { Environment } from '../core/environment.ts'
import { childEnvironment } from '../core/program.ts'
import { readEndpointUrl } from '../source/endpoint-url.ts'

// The address comes from a server. Rules:
//  - No shell, on no system, and nothing that reads a command line as one does.
//  - An https address, or one of this machine's own; so it never begins with a dash, and never names another program.

/** How long an opener may take until it counts as a browser that runs. */
const startedAfterMs = 2000

/**
 * Opens a page in the person's browser: what `BROWSER` names, else what the system opens pages with. Nothing that is
 * started holds our streams or ends with us.
 *
 * @returns False where the address must not be opened, or nothing here could open it.
 */
export async function openBrowser(url: string, environment: Environment): Promise<boolean> {
  for (const command of browserCommands(url, environment)) if (await start(command, environment)) return true
  return false
}

/**
 * Tells what to try, in turn: programs with their arguments. Pure.
 *
 * @returns Nothing for an address that must not be opened, and where no screen is.
 */
export function browserCommands(url: string, { env, platform }: Environment): string[][] {
  // A quote is the one printable character that Windows programs read for themselves.
  if (typeof readEndpointUrl(url) === 'string' || url.includes('"')) return []
  const named = env['BROWSER']?.trim()
  if (named) return namedBrowsers(named, url, platform)
  const isRemote = env['SSH_CONNECTION'] !== undefined || env['SSH_TTY'] !== undefined
  if (platform === 'darwin') return isRemote ? [] : [['/usr/bin/open', url]]
  if (platform === 'win32') {
    // `start` and `explorer` take an address apart that holds `&` or `,`.
    const rundll = `${env['SystemRoot'] ?? 'C:\\Windows'}\\System32\\rundll32.exe`
    return isRemote ? [] : [[rundll, 'url.dll,FileProtocolHandler', url]]
  }
  if (env['WSL_DISTRO_NAME'] !== undefined || env['WSL_INTEROP'] !== undefined) {
    // wslview comes last: it may go through a shell of Windows, to which an address is more than an address.
    const rundll = ['rundll32.exe', '/mnt/c/Windows/System32/rundll32.exe']
    return [...rundll.map(program => [program, 'url.dll,FileProtocolHandler', url]), ['wslview', url]]
  }
  // Without a screen these end up in a browser for terminals, which would fight with us for this one.
  if (!env['DISPLAY'] && !env['WAYLAND_DISPLAY']) return []
  const openers = [['xdg-open'], ['gio', 'open'], ['sensible-browser'], ['x-www-browser']]
  return openers.map(opener => [...opener, url])
}

/** Reads `BROWSER`: alternatives, each a program with arguments; `%s` stands for the address, which else comes last. */
function namedBrowsers(list: string, url: string, platform: NodeJS.Platform): string[][] {
  return list
    .split(platform === 'win32' ? ';' : ':')
    .map(entry => entry.trim().replace(/\s*&$/, ''))
    .filter(entry => entry !== '')
    .map(entry => {
      const words = [...entry.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
        ([, double, single, bare]) => double ?? single ?? bare ?? '',
      )
      const hasPlace = words.slice(1).some(word => word.includes('%s'))
      const filled = words.map((word, i) => (i === 0 ? word : word.replaceAll('%s', () => url)))
      return hasPlace ? filled : [...filled, url]
    })
}

async function start([name = '', ...args]: readonly string[], environment: Environment): Promise<boolean> {
  const [{ spawn }, { findProgram }] = await Promise.all([
    import('node:child_process'),
    import('../core/find-program.ts'),
  ])
  const env = childEnvironment(environment)
  let program: string
  try {
    program = findProgram(name, env)
  } catch {
    return false
  }
  return new Promise(resolve => {
    const child = spawn(program, args, {
      env: env as NodeJS.ProcessEnv,
      cwd: environment.home,
      stdio: 'ignore',
      detached: true,
      windowsHide: true,
    })
    const timer = setTimeout(() => resolve(true), startedAfterMs)
    const end = (isOpen: boolean): void => {
      clearTimeout(timer)
      resolve(isOpen)
    }
    child.once('error', () => end(false))
    child.once('exit', code => end(code === 0))
    child.unref()
  })
}
