import { relative } from 'node:path'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Folders by how long their files take, the longest first. */
const folders = ['peers', 'contract', 'stories', 'unit']
/** So many other files begin between two that start crowds, lest these wait for each other's. */
const betweenCrowds = 7

/**
 * Begins with the files that start processes and wait for them, so that what is left at the end are many short ones, which
 * keep every core busy. Within a folder the order is vitest's own: by the last run's times, or by size.
 */
export class WaitingFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const tests = `${this.ctx.config.root}/test`
    const folderOf = ({ moduleId }: TestSpecification): string => relative(tests, moduleId).split('/')[0]!
    const sorted = await super.sort(files)
    const crowds = sorted.filter(file => folderOf(file) === 'race')
    const others = sorted
      .filter(file => folderOf(file) !== 'race')
      .sort((a, b) => folders.indexOf(folderOf(a)) - folders.indexOf(folderOf(b)))
    return [
      ...crowds.flatMap((crowd, i) => [crowd, ...others.slice(i * betweenCrowds, (i + 1) * betweenCrowds)]),
      ...others.slice(crowds.length * betweenCrowds),
    ]
  }
}
