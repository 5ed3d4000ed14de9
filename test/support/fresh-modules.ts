import { vi } from 'vitest'

// A worker's process runs one file after another; to start one for each would cost more than most files take. What our
// modules keep (live secrets, nonces, counters) is each file's own all the same: they are evaluated anew.
vi.resetModules()
