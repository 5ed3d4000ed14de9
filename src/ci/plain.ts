import { type CiSystem, fileForShells } from './ci-system.ts'

const title = 'a job of no known CI system'

/** Anywhere else: a file to be read by a shell. */
export const system: CiSystem = {
  title,
  marks: [],
  plan: (exports, place) => fileForShells(exports, place, title),
}
