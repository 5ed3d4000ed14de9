import type { Token } from '../core/token.ts'

/** Upper bounds in seconds. */
const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** What one route has done. Counts and times; never a path, a header or a token. */
export interface RouteMetrics {
  /** Finished requests by status. */
  readonly requests: Map<number, number>
  /** Requests that were not let in, by reason. */
  readonly refused: Map<string, number>
  /** Tokens that the upstream refused. */
  rejected: number
  /** Requests that were sent a second time. */
  repeated: number
  /** Requests that got no token, by the code of the error. */
  readonly withoutToken: Map<string, number>
  /** Requests that the upstream did not answer. */
  upstreamFailures: number
  inFlight: number
  /** One count for each bucket, and one for what is longer. */
  readonly durations: number[]
  durationSum: number
}

export function createRouteMetrics(): RouteMetrics {
  return {
    requests: new Map(),
    refused: new Map(),
    rejected: 0,
    repeated: 0,
    withoutToken: new Map(),
    upstreamFailures: 0,
    inFlight: 0,
    durations: Array<number>(buckets.length + 1).fill(0),
    durationSum: 0,
  }
}

const counted = new WeakSet<Token>()

/** Counts a token that the upstream refused: once, however many requests carried it. */
export function countRejected(metrics: RouteMetrics, token: Token): void {
  if (counted.has(token)) return
  counted.add(token)
  metrics.rejected++
}

/** Adds one to a count. */
export function addOne<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

/** Counts a request that has ended. @param seconds - From its header to the end of its answer. */
export function countRequest(metrics: RouteMetrics, status: number, seconds: number): void {
  addOne(metrics.requests, status)
  metrics.durationSum += seconds
  let bucket = 0
  while (bucket < buckets.length && seconds > (buckets[bucket] as number)) bucket++
  metrics.durations[bucket] = (metrics.durations[bucket] as number) + 1
}

/**
 * All routes in the text format of Prometheus, version 0.0.4.
 *
 * @param routes - Name of the route → its counts.
 */
export function prometheusText(routes: ReadonlyMap<string, RouteMetrics>): string {
  const lines: string[] = []
  const family = (
    name: string,
    type: 'counter' | 'gauge' | 'histogram',
    help: string,
    rows: (
      label: string,
      metrics: RouteMetrics,
    ) => readonly [suffix: string, labels: string, value: number][],
  ): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
    for (const [route, metrics] of routes) {
      const label = `route="${route}"`
      for (const [suffix, labels, value] of rows(label, metrics))
        lines.push(`${name}${suffix}{${labels}} ${value}`)
    }
  }
  const counts = (label: string, key: string, map: ReadonlyMap<string | number, number>) =>
    [...map].map(([value, n]) => ['', `${label},${key}="${value}"`, n] as [string, string, number])
  family('tokctl_proxy_requests_total', 'counter', 'Requests that were answered, by status.', (label, m) =>
    counts(label, 'code', m.requests),
  )
  family('tokctl_proxy_refused_total', 'counter', 'Requests that were not let in, by reason.', (label, m) =>
    counts(label, 'reason', m.refused),
  )
  family(
    'tokctl_proxy_token_failures_total',
    'counter',
    'Requests that got no token, by error.',
    (label, m) => counts(label, 'error', m.withoutToken),
  )
  family('tokctl_proxy_tokens_rejected_total', 'counter', 'Tokens that the upstream refused.', (label, m) => [
    ['', label, m.rejected],
  ])
  family('tokctl_proxy_requests_repeated_total', 'counter', 'Requests that were sent twice.', (label, m) => [
    ['', label, m.repeated],
  ])
  family('tokctl_proxy_upstream_failures_total', 'counter', 'Requests without an answer.', (label, m) => [
    ['', label, m.upstreamFailures],
  ])
  family('tokctl_proxy_requests_in_flight', 'gauge', 'Requests that run.', (label, m) => [
    ['', label, m.inFlight],
  ])
  family(
    'tokctl_proxy_request_duration_seconds',
    'histogram',
    'From header to end of answer.',
    (label, m) => {
      let sum = 0
      const rows = m.durations.map((n, i): [string, string, number] => {
        sum += n
        return ['_bucket', `${label},le="${buckets[i] ?? '+Inf'}"`, sum]
      })
      return [...rows, ['_sum', label, m.durationSum], ['_count', label, sum]]
    },
  )
  return `${lines.join('\n')}\n`
}
