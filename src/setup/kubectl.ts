import { delimiter, join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { namedProfile, taken } from './places.ts'
import { comesFromUs, memberText } from './probe.ts'
import type { Machine, Plan, ProgramChange, Tool } from './setup.ts'
import { shellWords } from './words.ts'

/** A user of the kubeconfig, by `kubectl config set-credentials`. */
export const tool: Tool = {
  about: 'a user of the kubeconfig whose credential tokctl is asked for',
  programs: ['kubectl'],
  takesProfile: true,

  async plan(ask, machine) {
    const users = await readUsers(machine)
    if (ask.remove) {
      const ours = [...users].filter(
        ([name, exec]) => isOurs(exec, ask.profile?.name) && (ask.as === undefined || name === ask.as),
      )
      return { changes: await Promise.all(ours.map(([name]) => config(machine, name, 'delete-user', name))) }
    }
    const profile = namedProfile('kubectl', ask)
    const user = ask.as ?? profile.name
    const [command = '', ...words] = machine.program
    const args = [...words, 'helper', 'kubectl', profile.name]
    const next = [`kubectl config set-context --current ${shellWords([`--user=${user}`])}`]
    const there = users.get(user)
    if (users.has(user) && !isOurs(there)) {
      const hint = `run: tokctl setup kubectl ${profile.name} --as ANOTHER-NAME`
      throw taken('kubeconfig', `user ${user}`, there?.command ?? 'another credential', hint)
    }
    if (there?.command === command && JSON.stringify(there.args) === JSON.stringify(args))
      return { changes: [] }
    return {
      changes: [
        // Arguments would be added to those that are there.
        ...(users.has(user) ? [await config(machine, user, 'delete-user', user)] : []),
        await setCredentials(machine, user, command, args),
      ],
      next,
    } satisfies Plan
  },

  asked: 'tool',
  async probe(_, machine) {
    const found = [...(await readUsers(machine))].find(([, exec]) => isOurs(exec))
    if (found === undefined) return undefined
    const [, exec] = found
    const { command = '', args = [], apiVersion = '', env: given } = exec ?? {}
    const info = { apiVersion, kind: 'ExecCredential', spec: { interactive: false } }
    const env = { KUBERNETES_EXEC_INFO: JSON.stringify(info) }
    const more = (given ?? []).map(({ name, value }) => [name, value] as const)
    const secret = memberText('token')
    const isAnswered = await comesFromUs(
      machine,
      { words: args.slice(-3), env, secret },
      { command: [command, ...args], env: { ...Object.fromEntries(more), ...env }, secret },
    )
    // It calls a server once it has its credential, and sends it when the server has shown who it is.
    return isAnswered && machine.calls((port, file) => callOf(exec!, port, file, machine))
  },
}

// A configuration of its own: the one that is there may name a proxy, which would be called instead of our port, and would
// get the credential where TLS is not verified; and a kubectl that chooses its version by the server's asks that server too.
function callOf(
  exec: Exec,
  port: number,
  file: string,
  { env }: Machine,
): ReturnType<Parameters<Machine['calls']>[0]> {
  const name = 'tokctl'
  const unproxied = ['NO_PROXY', 'no_proxy']
  // The credential may have to be fetched through a proxy: what is said to kubectl is taken back for what it runs.
  const given = new Set(exec.env?.map(each => each.name))
  const back = unproxied
    .filter(each => !given.has(each))
    .map(each => ({ name: each, value: env[each] ?? '' }))
  const text = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    clusters: [{ name, cluster: { server: `https://127.0.0.1:${port}` } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    users: [{ name, user: { exec: { ...exec, env: [...back, ...(exec.env ?? [])] } } }],
  })
  return {
    text,
    command: ['kubectl', '--kubeconfig', file, '--request-timeout', '10s', 'get', '--raw', '/version'],
    env: {
      ...Object.fromEntries(unproxied.map(each => [each, '*'])),
      KUBECONFIG: file,
      // Preferences may add options to what is asked.
      KUBERC: 'off',
      KUBECTL_KUBERC: 'false',
    },
  }
}

interface Exec {
  readonly command?: string
  readonly args?: readonly string[]
  readonly apiVersion?: string
  readonly env?: readonly { readonly name: string; readonly value: string }[] | null
}

function isOurs(exec: Exec | undefined, profile?: string): boolean {
  const [helper, kubectl, name] = exec?.args?.slice(-3) ?? []
  const isTokctl = /tokctl/.test([exec?.command, ...(exec?.args ?? [])].slice(0, -3).join(' '))
  return (
    isTokctl && helper === 'helper' && kubectl === 'kubectl' && (profile === undefined || name === profile)
  )
}

// A kubectl that chooses its version by the server's would call the server of the current context whatever it is asked, with
// that user's credential. Of a context that is not there it has none.
const nowhere = ['--context', 'tokctl-asks-no-server']

async function readUsers(
  machine: Machine,
  from: readonly string[] = [],
): Promise<Map<string, Exec | undefined>> {
  if (machine.find('kubectl') === undefined) {
    throw new TokctlError('usage', 'kubectl is not installed, and its configuration is written by itself', {
      hint: 'install kubectl, then run this again',
    })
  }
  // Without --raw it leaves out what is secret.
  const view = ['kubectl', 'config', 'view', ...from, ...nowhere, '-o', 'json']
  const { exitCode, stdout, stderr } = await machine.run(view)
  const fail = (why: string): TokctlError =>
    new TokctlError('config_invalid', `kubectl cannot read its configuration: ${why}`)
  if (exitCode !== 0) throw fail((stderr.trim().split('\n').at(-1) ?? '').slice(0, 160))
  const users = new Map<string, Exec | undefined>()
  try {
    const found = JSON.parse(stdout) as { users?: { name: string; user?: { exec?: Exec } }[] | null }
    for (const { name, user } of found.users ?? []) users.set(name, user?.exec)
  } catch {
    throw fail('it is no JSON')
  }
  return users
}

async function setCredentials(
  machine: Machine,
  user: string,
  command: string,
  args: readonly string[],
): Promise<ProgramChange> {
  // v1 wants an interactiveMode, which older versions have no option for.
  const { stdout } = await machine.run(['kubectl', 'config', 'set-credentials', ...nowhere, '--help'])
  const knowsMode = stdout.includes('--exec-interactive-mode')
  return config(
    machine,
    user,
    'set-credentials',
    user,
    `--exec-api-version=client.authentication.k8s.io/${knowsMode ? 'v1' : 'v1beta1'}`,
    ...(knowsMode ? ['--exec-interactive-mode=Never'] : []),
    `--exec-command=${command}`,
    ...args.map(arg => `--exec-arg=${arg}`),
  )
}

async function config(machine: Machine, user: string, ...args: readonly string[]): Promise<ProgramChange> {
  return { run: ['kubectl', 'config', ...args], rewrites: [await fileOf(user, machine)] }
}

// As client-go chooses it: where the user is, else the first file that is there, else the last.
async function fileOf(user: string, machine: Machine): Promise<string> {
  const files = (machine.env['KUBECONFIG'] ?? '').split(delimiter).filter(file => file !== '')
  const first = files[0] ?? join(machine.home, '.kube', 'config')
  if (files.length < 2) return first
  const there = files.filter(file => machine.read(file) !== undefined)
  for (const file of there) {
    if ((await readUsers(machine, ['--kubeconfig', file])).has(user)) return file
  }
  return there[0] ?? files.at(-1)!
}
