import { TokctlError } from '../core/errors.ts'
import { formatInstant } from '../core/time.ts'
import { type Ask, type Protocol, profileArgument, readObject, reply, tokenText } from './protocol.ts'

const group = 'client.authentication.k8s.io/'
const versions = [`${group}v1`, `${group}v1beta1`]
/** kubectl uses a token to its last moment; on its way it may come too late. */
const marginMs = 10_000

type KubectlAsk = Ask & { readonly apiVersion: string }

/**
 * The exec plugins of Kubernetes clients. The version that is asked for stands in `KUBERNETES_EXEC_INFO`; a client
 * that does not set it is answered in `--api-version`, else v1. It never asks a person, whatever `interactive` says.
 *
 * @see client-go, `pkg/apis/clientauthentication`
 */
export const protocol: Protocol<KubectlAsk> = {
  reads: () => false,

  decode({ args, env }) {
    const at = args.indexOf('--api-version')
    const flag = at < 0 ? undefined : (args[at + 1] ?? '')
    const of = profileArgument('kubectl', at < 0 ? args : args.toSpliced(at, 2))
    const apiVersion = asked(env['KUBERNETES_EXEC_INFO']) ?? (flag === undefined ? versions[0]! : full(flag))
    if (versions.includes(apiVersion)) return { kind: 'get', of, apiVersion }
    throw new TokctlError('usage', 'kubectl asks for a version of ExecCredential that is not known here', {
      hint: `write apiVersion: ${versions[0]} in the kubeconfig`,
    })
  },

  encode(outcome, { apiVersion }) {
    if (outcome instanceof Error) throw outcome
    if (typeof outcome === 'string') throw new TokctlError('usage', 'no profile was named')
    const { expiresAt, obtainedAt } = outcome.token
    const status =
      expiresAt === undefined
        ? { token: tokenText(outcome) }
        : {
            token: tokenText(outcome),
            expirationTimestamp: formatInstant(
              expiresAt - Math.min(marginMs, Math.max(0, expiresAt - obtainedAt) / 10),
            ),
          }
    return reply(`${JSON.stringify({ apiVersion, kind: 'ExecCredential', status })}\n`)
  },
}

function full(version: string): string {
  return version.startsWith(group) ? version : `${group}${version}`
}

function asked(info: string | undefined): string | undefined {
  if (info === undefined || info === '') return undefined
  const { apiVersion, kind } = readObject(info) ?? {}
  if (kind === 'ExecCredential' && typeof apiVersion === 'string') return apiVersion
  throw new TokctlError('usage', 'KUBERNETES_EXEC_INFO holds no ExecCredential')
}
