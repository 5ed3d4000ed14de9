import { type Define, durationOption } from './command.ts'

/** `tokctl refresh PROFILE`: renews now and prints nothing. */
export const define: Define = (program, run) => {
  program
    .command('refresh')
    .summary('renew a token now')
    .description('Asks for a new token now, however good the kept one is, and prints nothing.')
    .argument('<profile>', 'a profile of the configuration')
    .option('--if-stale', 'only if the kept token is near its end or gone')
    .option('--timeout <duration>', 'for the whole call, waiting included (default: 30s)')
    .addHelpText('after', '\nExample:\n  tokctl refresh corp --if-stale')
    .action((name: string, options: { ifStale?: boolean; timeout?: string }) =>
      run(async ({ app, signal }) => {
        const timeout =
          options.timeout === undefined ? {} : { timeoutMs: durationOption('--timeout', options.timeout) }
        const profile = await app.profile(name)
        const how = options.ifStale ? { renew: true } : { force: true }
        await app.manager.get(profile, { ...how, ...timeout }, signal())
      }),
    )
}
