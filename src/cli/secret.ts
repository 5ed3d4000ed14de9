import { TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import type { Define } from './command.ts'
import { isTerminal, readInput, writeOut } from './io.ts'
import { askHidden } from './prompt.ts'

const maxSecretBytes = 1 << 20

/** `tokctl secret set|list|delete`: values for `{ secret = "name" }`. A value is never an argument. */
export const define: Define = (program, run) => {
  const secret = program
    .command('secret')
    .summary('keep secrets')
    .description('Keeps secrets that profiles refer to as { secret = "name" }.')
    .helpCommand(false)
    .addHelpText('after', '\nExample:\n  tokctl secret list')
  secret
    .command('set')
    .description('Keeps a secret: asked for at a terminal without showing it, else read from stdin.')
    .argument('<name>', 'how profiles refer to it')
    .addHelpText('after', '\nExample:\n  op read op://vault/item | tokctl secret set corp-client')
    .action((name: string) =>
      run(async ({ app, options }) => {
        checkName(name)
        const { lasting } = await import('../store/lasting.ts')
        const store = lasting(await app.secrets(), 'secret')
        const value = (await isTerminal(0))
          ? await ask(name, options.input)
          : readInput(maxSecretBytes).replace(/\r?\n$/, '')
        if (value === '') {
          throw new TokctlError('usage', 'an empty secret is not kept', {
            hint: `run: printf %s "$VALUE" | tokctl secret set ${name}`,
          })
        }
        await store.set({ kind: 'secret', name }, new Secret(value))
      }),
    )
  secret
    .command('list')
    .description('Lists the names of the kept secrets, one a line.')
    .addHelpText('after', '\nExample:\n  tokctl secret list')
    .action(() =>
      run(async ({ app }) => {
        const keys = await (await app.secrets()).list()
        const names = keys.filter(({ kind }) => kind === 'secret').map(({ name }) => name)
        writeOut(
          names
            .sort()
            .map(name => `${name}\n`)
            .join(''),
        )
      }),
    )
  secret
    .command('delete')
    .description('Forgets a kept secret.')
    .argument('<name>', 'how profiles refer to it')
    .addHelpText('after', '\nExample:\n  tokctl secret delete corp-client')
    .action((name: string) =>
      run(async ({ app }) => {
        checkName(name)
        if (await (await app.secrets()).delete({ kind: 'secret', name })) return
        throw new TokctlError('secret_not_kept', `no secret "${name}" is kept`, {
          hint: 'run: tokctl secret list',
        })
      }),
    )
}

async function ask(name: string, mayAsk: boolean): Promise<string> {
  if (!mayAsk) {
    throw new TokctlError('usage', `the value of "${name}" would have to be asked for`, {
      hint: `run: printf %s "$VALUE" | tokctl secret set ${name}`,
    })
  }
  return askHidden(`value of "${name}" (not shown): `)
}

function checkName(name: string): void {
  // What follows the @ stands for a project, whose secrets have places of their own.
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:@[a-z0-9-]{1,32})?$/.test(name)) return
  throw new TokctlError(
    'usage',
    `"${name.slice(0, 70).replace(/[^\x20-\x7e]/g, ' ')}" is not a name for a secret`,
    {
      hint: 'use up to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
    },
  )
}
