import type { Person } from '../../src/source/source.ts'

/** A person whom a test plays. */
export interface FakePerson extends Person {
  /** All that was told. */
  readonly told: string
  /** The addresses that were to be opened. */
  readonly opened: readonly string[]
  /** Pastes a line. */
  paste(line: string): void
}

/** @param open - What the browser does with the address; without it there is none. */
export function fakePerson(
  open?: (url: string) => unknown,
  { isTerminal = false }: { isTerminal?: boolean } = {},
): FakePerson {
  let told = ''
  const opened: string[] = []
  const lines: string[] = []
  let wake: (() => void) | undefined
  return {
    isTerminal,
    get told() {
      return told
    },
    opened,
    tell: text => {
      told += text
    },
    open: async url => {
      opened.push(url)
      if (open === undefined) return false
      void open(url)
      return true
    },
    pasted: signal =>
      new Promise((resolve, reject) => {
        const take = (): void => {
          const line = lines.shift()
          if (line === undefined) return
          wake = undefined
          resolve(line)
        }
        wake = take
        signal.addEventListener('abort', () => reject(signal.reason))
        take()
      }),
    paste: line => {
      lines.push(line)
      wake?.()
    },
  }
}
