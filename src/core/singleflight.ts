/** Calls that share a key share a result, in one process. */
export interface Singleflight<T> {
  /**
   * Joins the flight of that key, or starts one.
   * A caller whose signal fires leaves with its reason; the flight goes on for the others, and to its end.
   */
  run(key: string, signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T>
}

/** Makes an empty set of flights. A result, value or error, is shared with those who joined, and with nobody later. */
export function createSingleflight<T>(): Singleflight<T> {
  const flights = new Map<string, Promise<T>>()
  return {
    run(key, signal, start) {
      let flight = flights.get(key)
      if (flight === undefined) {
        flight = start().finally(() => flights.delete(key))
        flights.set(key, flight)
      }
      return signal === undefined ? flight : leaveOn(signal, flight)
    },
  }
}

function leaveOn<T>(signal: AbortSignal, flight: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const leave = (): void => reject(signal.reason)
    if (signal.aborted) leave()
    signal.addEventListener('abort', leave, { once: true })
    flight.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
  })
}
