import { type CiSystem, type Export, linesOf, refuseFile } from './ci-system.ts'

const title = 'Azure Pipelines'

/**
 * Azure Pipelines: `task.setsecret`, then `task.setvariable`, all on stdout; the agent takes these lines out of the log.
 *
 * @see https://learn.microsoft.com/en-us/azure/devops/pipelines/scripts/logging-commands
 */
export const system: CiSystem = {
  title,
  marks: ['TF_BUILD'],
  plan(exports, place) {
    refuseFile(place, title)
    const masks = exports.flatMap(one => linesOf(one).map(line => `##vso[task.setsecret]${data(line)}\n`))
    return {
      steps: [{ kind: 'say', text: [...masks, ...exports.map(variables)].join('') }],
      isMasked: true,
      told: 'a secret variable of later steps, which map it with env:, and an output of this one',
    }
  },
}

// An output variable is known by the name of its step alone, so each is set twice.
function variables({ name, value }: Export): string {
  const set = (more: string): string =>
    `##vso[task.setvariable variable=${name};issecret=true${more}]${data(value.expose())}\n`
  return `${set('')}${set(';isOutput=true')}`
}

// What the agent decodes in the text of a command; the percent sign has a name of its own there.
function data(text: string): string {
  return text.replaceAll('%', '%AZP25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
}
