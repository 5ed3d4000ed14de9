import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, normalize } from 'node:path'

/** One request that carried credentials, or did not. */
export interface GitRequest {
  readonly path: string
  /** `user:password` of Basic. */
  readonly credentials: string | undefined
  readonly status: number
}

/** A repository over http on a free loopback port, in files alone; everything in it wants a user and a password. */
export interface GitServer {
  readonly url: string
  readonly requests: readonly GitRequest[]
  /** Passwords that are refused from now on; every other is taken. */
  readonly refused: Set<string>
  /** Resolves once that many requests were answered with that status. */
  answered(status: number, n: number): Promise<void>
  close(): Promise<void>
}

/** Makes a repository with one commit in a directory, and serves it. */
export async function startGitServer(directory: string, env: Record<string, string>): Promise<GitServer> {
  const git = (...args: string[]): void => {
    execFileSync('git', args, { cwd: directory, env, stdio: 'pipe' })
  }
  const author = ['-c', 'user.name=t', '-c', 'user.email=t@example.com']
  git('init', '--quiet', '--initial-branch=main', 'work')
  git('-C', 'work', ...author, 'commit', '--quiet', '--allow-empty', '--message', 'first')
  git('clone', '--quiet', '--bare', 'work', 'repo.git')
  git('-C', 'repo.git', 'update-server-info')

  const requests: GitRequest[] = []
  const refused = new Set<string>()
  const looking = new Set<() => void>()
  const server = createServer(({ url = '/', headers }, response) => {
    const { pathname } = new URL(url, 'http://127.0.0.1')
    const [, encoded] = /^Basic (.*)$/.exec(headers.authorization ?? '') ?? []
    const credentials = encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString()
    const [status, body] = answer(pathname, credentials)
    requests.push({ path: pathname, credentials, status })
    for (const look of looking) look()
    response.writeHead(status, status === 401 ? { 'www-authenticate': 'Basic realm="git"' } : {}).end(body)
  })
  function answer(path: string, credentials: string | undefined): [status: number, body: string | Buffer] {
    if (credentials === undefined || refused.has(credentials.slice(credentials.indexOf(':') + 1))) {
      return [401, '']
    }
    try {
      return [200, readFileSync(join(directory, normalize(path)))]
    } catch {
      return [404, '']
    }
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    refused,
    answered: (status, n) =>
      new Promise(resolve => {
        const look = (): void => {
          if (requests.filter(request => request.status === status).length < n) return
          looking.delete(look)
          resolve()
        }
        looking.add(look)
        look()
      }),
    async close() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}
