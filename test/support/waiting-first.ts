import { relative } from 'node:path'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Folders by how long their files take, the longest first. */
const folders = ['race', 'peers', 'contract', 'stories', 'unit']

/**
 * Begins with the files that start processes and wait for them, so that what is left at the end are many short ones, which
 * keep every core busy. Within a folder the order is vitest's own: by the last run's times, or by size.
 */
export class WaitingFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const tests = `${this.ctx.config.root}/test`
    const rank = ({ moduleId }: TestSpecification): number =>
      folders.indexOf(relative(tests, moduleId).split('/')[0]!)
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}
