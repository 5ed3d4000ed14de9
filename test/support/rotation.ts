import { onTestFinished } from 'vitest'
import { type Answer, type AuthServer, type SeenRequest, startAuthServer } from './auth-server.ts'
import { type RunOptions, type Scratch, scratch } from './run.ts'

/** A profile whose refresh tokens rotate, and the server that takes each of them once. */
export interface Rotation {
  readonly auth: AuthServer
  readonly at: Scratch
  readonly options: RunOptions
  /** The refresh tokens that were sent, in order. */
  readonly sent: readonly string[]
  /** How often the server gave a new one. */
  readonly rotations: number
  /** Answers as the server does: a new pair for the newest refresh token, `invalid_grant` for any other. */
  rotate(request: SeenRequest): Answer
  /** Begins a session that nothing has happened to yet. @returns The environment with its seed. */
  begin(): RunOptions
}

/** Starts the server and makes a home; every token holds the word `canary`. */
export async function rotation(extra = ''): Promise<Rotation> {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  at.writeConfig(`[profile.me]
source = "refresh_token"
token_endpoint = "${auth.tokenEndpoint}"
client_id = "cli"
client_auth = "none"
refresh_token = { env = "SEED" }
${extra}`)
  const sent: string[] = []
  let seeds = 0
  let newest = ''
  let rotations = 0

  function rotate({ params }: SeenRequest): Answer {
    const given = params['refresh_token'] ?? ''
    sent.push(given)
    if (given !== newest) return { status: 400, body: { error: 'invalid_grant' } }
    rotations++
    newest = `refresh-canary-${rotations}`
    const token = { access_token: `token-canary-${rotations}`, token_type: 'Bearer', expires_in: 3600 }
    return { body: { ...token, refresh_token: newest } }
  }

  function begin(): RunOptions {
    newest = `seed-canary-${++seeds}`
    return { at, env: { SEED: newest } }
  }

  auth.answer(rotate)
  return {
    auth,
    at,
    sent,
    rotate,
    begin,
    options: begin(),
    get rotations() {
      return rotations
    },
  }
}
