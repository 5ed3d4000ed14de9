import { createRequire } from 'node:module'
import type { LockCalls } from './lock.ts'

/**
 * The kernel's lock for Node, which brings no call for it: fs-native-extensions.
 *
 * @returns `undefined` where it has no binary for this platform.
 */
export function loadLockAddon(platform: string, arch: string): LockCalls | undefined {
  const require = createRequire(import.meta.url)
  try {
    // Straight to the binary: the package's own search for it takes ten times as long.
    return require(`fs-native-extensions/prebuilds/${platform}-${arch}/fs-native-extensions.node`)
  } catch {}
  try {
    return require('fs-native-extensions/binding.js')
  } catch {
    return undefined
  }
}
