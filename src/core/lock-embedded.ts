import addon from 'fs-native-extensions/prebuilds/win32-x64/fs-native-extensions.node'
import type { LockCalls } from './lock.ts'

/** The kernel's lock on Windows, where the runtime has all of libuv that the addon calls. */
export function embeddedLock(): LockCalls {
  return addon
}
