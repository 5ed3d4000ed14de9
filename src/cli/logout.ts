import { TokctlError } from '../core/errors.ts'
import { defaultTimeoutMs } from '../core/manager.ts'
import { type Define, durationOption } from './command.ts'

/** `tokctl logout PROFILE`: revokes and forgets. */
export const define: Define = (program, run) => {
  program
    .command('logout')
    .summary('sign out and forget')
    .description(
      'Waits for a renewal that runs, revokes the session where the server offers it, and forgets it here.',
    )
    .argument('[profile]', 'a profile of the configuration')
    .option('--all', 'every profile')
    .option('--timeout <duration>', 'for each profile, waiting included (default: 30s)')
    .addHelpText('after', '\nExample:\n  tokctl logout corp')
    .action((name: string | undefined, options: { all?: boolean; timeout?: string }) =>
      run(async ({ app, signal }) => {
        if ((name === undefined) === (options.all !== true)) {
          throw new TokctlError('usage', 'either one profile or --all is to be named', {
            hint: 'run: tokctl logout --help',
          })
        }
        const timeoutMs =
          options.timeout === undefined ? defaultTimeoutMs : durationOption('--timeout', options.timeout)
        const profiles =
          name === undefined ? [...(await app.config()).profiles.values()] : [await app.profile(name)]
        let failure: unknown
        for (const profile of profiles) {
          try {
            await app.manager.logout(profile, timeoutMs, signal())
          } catch (error) {
            if (signal().aborted) throw error
            // The others are signed out all the same; the first failure is what is told.
            failure ??= error
          }
        }
        if (failure !== undefined) throw failure
      }),
    )
}
