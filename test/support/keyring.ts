import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openBus, parseAddresses } from '../../src/store/dbus.ts'
import { DBusError, type Value } from '../../src/store/dbus-codec.ts'
import { netSocket } from '../../src/store/net-socket.ts'

/** A session bus of its own with a gnome-keyring of its own; nothing of the user's is touched. */
export interface Keyring {
  /** All that a child needs to find it, and nothing else; PATH included. */
  readonly env: Record<string, string>
  /** The bus address with its guid, as dbus-daemon printed it. */
  readonly address: string
  /** Locks the default collection, as the screen saver or seahorse does. */
  lock(): Promise<void>
  /** SIGSTOP: the service is there and never answers. */
  freeze(): void
  /** SIGCONT. */
  thaw(): void
  /** SIGSTOP of the bus. */
  freezeBus(): void
  /** SIGCONT of the bus. */
  thawBus(): void
  /** SIGKILL of the service; the bus stays, and nothing starts it again. */
  killDaemon(): Promise<void>
  /** Asks the bus for anything; for what has no method here. */
  ask(
    destination: string,
    path: string,
    interfaceMember: string,
    signature: string,
    body: Value[],
  ): Promise<Value[]>
  /** Ends every process that was started here and removes its files. */
  stop(): Promise<void>
}

/** A session bus on which nobody offers secrets, nor can be started to. */
export type BareBus = Pick<Keyring, 'env' | 'address' | 'freezeBus' | 'thawBus' | 'ask' | 'stop'>

/** Why a real keyring cannot be started here; `undefined` where it can. */
export function keyringMissing(): string | undefined {
  if (process.platform !== 'linux') return 'the Secret Service is a Linux thing'
  const missing = ['dbus-daemon', 'gnome-keyring-daemon', 'secret-tool'].filter(
    program => !isInstalled(program),
  )
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`
}

function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some(dir => existsSync(join(dir, program)))
}

const secrets = 'org.freedesktop.secrets'
const root = '/org/freedesktop/secrets'
const introduction = {
  destination: secrets,
  path: root,
  interface: 'org.freedesktop.Secret.Service',
  member: 'ReadAlias',
  signature: 's',
  body: ['default'],
}

const running = new Set<ChildProcess>()

// A test that fails half way leaves nothing running either.
function endAll(): void {
  for (const child of running) child.kill('SIGKILL')
}

function start(program: string, args: string[], env: Record<string, string>, input: string): ChildProcess {
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'ignore'] })
  if (running.size === 0) process.once('exit', endAll)
  running.add(child)
  child.once('exit', () => {
    running.delete(child)
    if (running.size === 0) process.off('exit', endAll)
  })
  // A daemon that ended at once says so by its exit.
  child.stdin?.on('error', () => {}).end(input)
  return child
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGKILL')
  await exited
}

/** Starts a session bus without any service. */
export async function startBus(): Promise<BareBus> {
  const dir = mkdtempSync(join(tmpdir(), 'tokctl-bus-'))
  const env: Record<string, string> = {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    HOME: dir,
    XDG_RUNTIME_DIR: join(dir, 'run'),
    XDG_DATA_HOME: join(dir, 'data'),
    XDG_CONFIG_HOME: join(dir, 'config'),
    XDG_CACHE_HOME: join(dir, 'cache'),
    XDG_STATE_HOME: join(dir, 'state'),
    LC_ALL: 'C.UTF-8',
  }
  for (const name of ['run', 'data', 'config', 'cache', 'state']) mkdirSync(join(dir, name), { mode: 0o700 })
  // No service directory: whoever is not running is not there.
  writeFileSync(
    join(dir, 'bus.conf'),
    `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
      "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
     <busconfig>
       <type>session</type>
       <listen>unix:path=${dir}/run/bus</listen>
       <auth>EXTERNAL</auth>
       <policy context="default">
         <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
       </policy>
     </busconfig>`,
  )
  const daemon = start(
    'dbus-daemon',
    [`--config-file=${dir}/bus.conf`, '--nofork', '--print-address=1'],
    env,
    '',
  )
  const address = await new Promise<string>((resolve, reject) => {
    let text = ''
    daemon.stdout?.setEncoding('utf8').on('data', (data: string) => {
      text += data
      if (text.includes('\n')) resolve(text.trim())
    })
    daemon.once('error', reject)
    daemon.once('exit', code => reject(new Error(`dbus-daemon ended with ${code}`)))
  })
  env['DBUS_SESSION_BUS_ADDRESS'] = address

  return {
    env,
    address,
    freezeBus: () => void daemon.kill('SIGSTOP'),
    thawBus: () => void daemon.kill('SIGCONT'),
    async ask(destination, path, interfaceMember, signature, body) {
      const at = interfaceMember.lastIndexOf('.')
      const bus = openBus(parseAddresses(address, undefined), process.getuid?.(), netSocket)
      try {
        const call = {
          destination,
          path,
          interface: interfaceMember.slice(0, at),
          member: interfaceMember.slice(at + 1),
        }
        // gnome-keyring may abort at a first call that needs a record of its caller: see secret-service.ts.
        if (destination === secrets) await bus.call(introduction, {})
        return (await bus.call({ ...call, signature, body }, {})).body
      } finally {
        bus.close()
      }
    },
    async stop() {
      await end(daemon)
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** Starts a session bus and an unlocked gnome-keyring, and waits until it can keep something. */
export async function startKeyring({ password = 'correct horse' } = {}): Promise<Keyring> {
  const bus = await startBus()
  const daemon = start(
    'gnome-keyring-daemon',
    ['--foreground', '--unlock', '--components=secrets'],
    bus.env,
    password,
  )

  const deadline = performance.now() + 15_000
  while (!(await isReady())) {
    if (performance.now() > deadline || daemon.exitCode !== null) {
      await end(daemon)
      await bus.stop()
      throw new Error('gnome-keyring-daemon did not come up')
    }
    await sleep(10)
  }

  // The service announces itself at its own pace; this is the one thing here that can only be asked again.
  async function isReady(): Promise<boolean> {
    try {
      const [path] = await bus.ask(secrets, root, 'org.freedesktop.Secret.Service.ReadAlias', 's', [
        'default',
      ])
      return path !== '/'
    } catch (error) {
      if (error instanceof DBusError && error.kind === 'answered') return false
      throw error
    }
  }

  return {
    ...bus,
    async lock() {
      const [path] = await bus.ask(secrets, root, 'org.freedesktop.Secret.Service.ReadAlias', 's', [
        'default',
      ])
      await bus.ask(secrets, root, 'org.freedesktop.Secret.Service.Lock', 'ao', [[path!]])
    },
    freeze: () => void daemon.kill('SIGSTOP'),
    thaw: () => void daemon.kill('SIGCONT'),
    killDaemon: () => end(daemon),
    async stop() {
      await end(daemon)
      await bus.stop()
    },
  }
}
