import { TokctlError } from '../core/errors.ts'
import { defaultTimeoutMs } from '../core/manager.ts'
import { Secret } from '../core/secret.ts'
import { type Define, durationOption } from './command.ts'
import { readInput } from './io.ts'

const maxTokenBytes = 1 << 20

/** `tokctl reject PROFILE`: the token on stdin was refused by the service, and is not served again. */
export const define: Define = (program, run) => {
  program
    .command('reject')
    .summary('report a refused token')
    .description(
      'Drops the token on stdin, which a service refused (401). Any other token of the profile stays.',
    )
    .argument('<profile>', 'a profile of the configuration')
    .option('--timeout <duration>', 'for the whole call, waiting included (default: 30s)')
    .addHelpText('after', '\nExample:\n  printf %s "$TOKEN" | tokctl reject corp')
    .action((name: string, options: { timeout?: string }) =>
      run(async ({ app, signal }) => {
        const timeoutMs =
          options.timeout === undefined ? defaultTimeoutMs : durationOption('--timeout', options.timeout)
        const profile = await app.profile(name)
        const refused = readInput(maxTokenBytes).replace(/\r?\n$/, '')
        if (refused === '') {
          throw new TokctlError('usage', 'standard input holds no token', {
            hint: `run: printf %s "$TOKEN" | tokctl reject ${profile.name}`,
          })
        }
        await app.manager.reject(profile, new Secret(refused), timeoutMs, signal())
      }),
    )
}
