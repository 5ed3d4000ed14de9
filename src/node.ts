import { main as run } from './main.ts'

// The program on Node, as bin/tokctl.js starts it.

/** Runs the program: argv in, exit code out. */
export function main({ script, saveCodeCache }: { script: string; saveCodeCache(): void }): Promise<void> {
  return run({
    name: `node ${process.version}`,
    script,
    takesOpenSockets: true,
    lockCalls: async (platform, arch) => (await import('./core/lock-addon.ts')).loadLockAddon(platform, arch),
    busSocket: async () => undefined,
    openSealed: undefined,
    sealer: undefined,
    compileSooner() {},
    directWire: undefined,
    saveCodeCache,
  })
}
