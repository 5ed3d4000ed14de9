import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** A real Chromium without a window, driven as WebDriver has it. It reaches this machine alone. */
export interface Chromium {
  go(url: string): Promise<void>
  /** Waits for an element and types into it. */
  type(selector: string, text: string): Promise<void>
  /** Waits for an element and clicks it. */
  click(selector: string): Promise<void>
  /** Waits for an element and reads what a person sees of it. */
  read(selector: string): Promise<string>
  /** Runs a function body in the page. */
  run(script: string): Promise<unknown>
  /** Messages of the console, network failures and violations of the page's policy among them. */
  messages(): Promise<readonly string[]>
  screenshot(path: string): Promise<void>
  close(): Promise<void>
}

const waitMs = 15_000
const elementKey = 'element-6066-11e4-a52e-4f735466cecf'

/** Starts chromedriver on a free port, and a browser with a profile of its own. */
export async function startChromium({ dark = false }: { dark?: boolean } = {}): Promise<Chromium> {
  const home = mkdtempSync(join(tmpdir(), 'tokctl-chromium-'))
  const driver = spawn('chromedriver', ['--port=0'], {
    env: { PATH: process.env['PATH'], HOME: home, TMPDIR: home, LANG: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  try {
    const base = `http://127.0.0.1:${await portOf(driver)}`
    return await startSession(driver, base, home, dark)
  } catch (error) {
    await stop(driver, home)
    throw error
  }
}

async function startSession(
  driver: ChildProcess,
  base: string,
  home: string,
  dark: boolean,
): Promise<Chromium> {
  const args = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-dev-shm-usage',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    '--window-size=900,700',
    `--user-data-dir=${join(home, 'profile')}`,
    ...(dark ? ['--force-dark-mode'] : []),
  ]
  const { sessionId } = (await call('POST', `${base}/session`, {
    capabilities: {
      alwaysMatch: {
        browserName: 'chrome',
        'goog:chromeOptions': { args },
        'goog:loggingPrefs': { browser: 'ALL' },
        timeouts: { implicit: waitMs, pageLoad: waitMs, script: waitMs },
      },
    },
  })) as { sessionId: string }
  const session = `${base}/session/${sessionId}`
  const find = async (selector: string): Promise<string> => {
    const found = await call('POST', `${session}/element`, { using: 'css selector', value: selector })
    return `${session}/element/${(found as Record<string, string>)[elementKey]}`
  }
  return {
    go: async url => void (await call('POST', `${session}/url`, { url })),
    type: async (selector, text) => void (await call('POST', `${await find(selector)}/value`, { text })),
    click: selector => again(async () => void (await call('POST', `${await find(selector)}/click`, {}))),
    read: selector => again(async () => (await call('GET', `${await find(selector)}/text`)) as string),
    run: script => call('POST', `${session}/execute/sync`, { script, args: [] }),
    messages: async () => {
      const entries = (await call('POST', `${session}/se/log`, { type: 'browser' })) as { message: string }[]
      return entries.map(({ message }) => message)
    },
    screenshot: async path =>
      writeFileSync(path, Buffer.from((await call('GET', `${session}/screenshot`)) as string, 'base64')),
    close: async () => {
      await call('DELETE', session).catch(() => {})
      await stop(driver, home)
    },
  }
}

// The next page may take the place of the one where the element was found: then it is looked for there.
async function again<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work()
    } catch (error) {
      if (tries === 5 || !(error as Error).message.includes('stale element')) throw error
    }
  }
}

async function call(method: string, url: string, body?: object): Promise<unknown> {
  const response = await fetch(url, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
  const { value } = (await response.json()) as { value: unknown }
  if (response.ok) return value
  const { error, message } = value as { error: string; message: string }
  throw new Error(`${method} ${new URL(url).pathname}: ${error}: ${message.split('\n')[0]}`)
}

async function portOf(driver: ChildProcess): Promise<string> {
  const failed = once(driver, 'error').then(([error]) => {
    throw error
  })
  const told = (async () => {
    for await (const line of createInterface({ input: driver.stdout! })) {
      const port = /started successfully on port (\d+)/.exec(line)?.[1]
      if (port !== undefined) return port
    }
    throw new Error('chromedriver ended before it listened')
  })()
  return Promise.race([told, failed])
}

async function stop(driver: ChildProcess, home: string): Promise<void> {
  if (driver.exitCode === null && driver.signalCode === null) {
    const ended = once(driver, 'exit')
    driver.kill()
    await ended
  }
  rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
}
