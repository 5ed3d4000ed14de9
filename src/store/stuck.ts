let callsOut = 0

/** Counts a native call until it comes back, which is perhaps never. */
export function countNativeCall(call: Promise<unknown>): void {
  callsOut++
  const back = (): void => {
    callsOut--
  }
  call.then(back, back)
}

/**
 * Tells whether a native call is still out. It holds up every ordinary end of the process, `process.exit` included, because
 * the thread that runs it is waited for: the program then ends with a signal to itself, its output flushed before.
 */
export function isStuck(): boolean {
  return callsOut > 0
}
