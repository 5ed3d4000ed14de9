import { TokctlError } from '../core/errors.ts'
import { writeError } from './io.ts'

// What a person is asked at the terminal; whether there is one is the caller's to know.

const maxLineLength = 65_536

/**
 * Asks a person at the terminal for a line that is not shown.
 *
 * @throws {TokctlError} `interrupted`
 */
export function askHidden(prompt: string): Promise<string> {
  const interrupt = (leave: (reason: unknown) => void): void =>
    leave(new TokctlError('interrupted', 'interrupted'))
  return readUnseen(prompt, interrupt).finally(() => writeError('\n'))
}

/**
 * Asks a person at the terminal for a line.
 *
 * @throws What the signal gives as its reason
 */
export function askLine(prompt: string, signal: AbortSignal): Promise<string> {
  const { stdin } = process
  writeError(prompt)
  stdin.setEncoding('utf8')
  let text = ''
  return new Promise<string>((resolve, reject) => {
    const end = (finish: () => void): void => {
      stdin.off('data', onData)
      stdin.off('end', onEnd)
      signal.removeEventListener('abort', onAbort)
      stdin.pause()
      finish()
    }
    const onEnd = (): void => end(() => resolve(text))
    const onAbort = (): void => {
      // The shell's prompt is not to follow the question.
      writeError('\n')
      end(() => reject(signal.reason))
    }
    const onData = (more: string): void => {
      text += more
      const at = text.indexOf('\n')
      if (at >= 0) end(() => resolve(text.slice(0, at).replace(/\r$/, '')))
    }
    stdin.on('data', onData)
    stdin.on('end', onEnd)
    signal.addEventListener('abort', onAbort)
    stdin.resume()
    if (signal.aborted) onAbort()
  })
}

/**
 * Waits for a line that a person pastes at the terminal, which does not show it: a terminal that shows lines cuts them
 * after 4096 characters, and some addresses are longer. Ctrl-C is the signal that it always is.
 *
 * @throws What the signal gives as its reason
 */
export function readPasted(signal: AbortSignal): Promise<string> {
  return readUnseen('', () => process.kill(process.pid, 'SIGINT'), signal)
}

/** @param onInterrupt - Called at Ctrl-C, which a terminal in this mode makes no signal of. */
function readUnseen(
  prompt: string,
  onInterrupt: (leave: (reason: unknown) => void) => void,
  signal?: AbortSignal,
): Promise<string> {
  const { stdin } = process
  // Before the question: what is typed at once would be shown otherwise.
  stdin.setRawMode(true)
  writeError(prompt)
  stdin.setEncoding('utf8')
  let line = ''
  return new Promise<string>((resolve, reject) => {
    const end = (finish: () => void): void => {
      stdin.off('data', onData)
      signal?.removeEventListener('abort', onAbort)
      stdin.setRawMode(false)
      stdin.pause()
      finish()
    }
    const leave = (reason: unknown): void => end(() => reject(reason))
    const onAbort = (): void => leave(signal?.reason)
    const onData = (text: string): void => {
      for (const char of text) {
        if (char === '\r' || char === '\n' || char === '\u0004') {
          end(() => resolve(line))
          return
        }
        if (char === '\u0003') {
          onInterrupt(leave)
          return
        }
        if (char === '\u0015') line = ''
        else if (char === '\u007f' || char === '\b') line = [...line].slice(0, -1).join('')
        else if (line.length < maxLineLength) line += char
      }
    }
    stdin.on('data', onData)
    signal?.addEventListener('abort', onAbort)
    stdin.resume()
    if (signal?.aborted) onAbort()
  })
}
