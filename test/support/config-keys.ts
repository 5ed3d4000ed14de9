import { commonKeys, sourceKeys, storeKeys } from '../../src/profile/keys.ts'

/** Every key that a profile or the store may have. */
export function keyNames(): string[] {
  return [
    ...new Set([commonKeys, storeKeys, ...Object.values(sourceKeys)].flatMap(keys => Object.keys(keys))),
  ]
}
