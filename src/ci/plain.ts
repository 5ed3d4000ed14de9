import { type CiSystem, exportLines, namedFile } from './ci-system.ts'

const title = 'a job of no known CI system'

/** Anywhere else: a file to be read by a shell. */
export const system: CiSystem = {
  title,
  marks: [],
  plan(exports, place) {
    const path = namedFile(place, title)
    return {
      steps: [{ kind: 'keep', path, lines: exportLines(exports) }],
      isMasked: false,
      told: `in ${path}, to be read by ". ${path}"`,
    }
  },
}
