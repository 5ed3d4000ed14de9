import { defineConfig } from 'vitest/config'
import { WaitingFirst } from './test/support/waiting-first.ts'

export default defineConfig({
  define: { __VERSION__: '"0.0.0-test"', __COMMIT__: '"test"' },
  test: {
    environment: 'node',
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/build.ts'],
    setupFiles: ['test/support/fresh-modules.ts'],
    pool: 'forks',
    isolate: false,
    // One more than the two cores it is timed on: whoever starts programs waits for them a fifth of the time.
    // The race tests start 64 processes themselves; still more workers would only make them wait for each other.
    maxWorkers: 3,
    sequence: { sequencer: WaitingFirst },
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    // A second, the default, is what a busy machine takes to do anything at all.
    expect: { poll: { timeout: 15_000 } },
    restoreMocks: true,
    unstubEnvs: true,
  },
})
