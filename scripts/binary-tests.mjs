// What `npm run test:binary` runs, and the one table of what it does not, each with its reason.

/** Suites whose tests start the program: it is the one file there. Folders and files of test/. */
export const byProgram = ['test/contract', 'test/race', 'test/peers', 'test/stories']

/** Suites that test a port from within: Bun runs them itself, with the implementations that the one file has. */
export const byRuntime = [
  'test/contract/lock.test.ts',
  'test/contract/proxy.test.ts',
  'test/contract/proxy-clients.test.ts',
  'test/contract/proxy-pipelined.test.ts',
  'test/contract/store.test.ts',
  'test/contract/transport.test.ts',
  'test/peers/keyring-faults.test.ts',
  'test/peers/keyring-values.test.ts',
  'test/peers/oidc-client-auth.test.ts',
  'test/peers/oidc-grants.test.ts',
  'test/peers/sign-in-code.test.ts',
  'test/peers/sign-in-device.test.ts',
  'test/unit',
]

/** Files that are not run a second time. */
export const filesNotRun = [
  ['test/contract/binary.test.ts', 'is about the one file already'],
  ['test/race/two-programs.test.ts', 'starts both programs already'],
  ['test/contract/bare-machine.test.ts', 'is about Node with its modules on a bare machine'],
  ['test/contract/library-types.test.ts', 'is about the library, which the one file does not have'],
  ['test/stories/library.test.ts', 'is about the library'],
  ['test/unit/library-fetch.test.ts', 'is about the library'],
  ['test/peers/azure.test.ts', 'is about the library'],
  ['test/contract/package.test.ts', 'is about the npm package'],
  ['test/contract/supply-chain.test.ts', 'is about the npm package'],
  ['test/contract/pipelines.test.ts', 'is about workflows and scripts'],
  ['test/contract/man.test.ts', 'is about a page that is the same for both'],
  ['test/stories/demo.test.ts', 'starts a script that starts the program on Node'],
  ['test/unit/hit-path.test.ts', 'is about the files that Node reads'],
  ['test/unit/floors.test.ts', 'is about the sources, and runs nothing of them'],
  ['test/unit/support.test.ts', 'is about the tests themselves'],
]

/** Tests of files that are run: pattern of the name, with its groups before it. */
export const testsNotRun = [
  [
    'PS384 with a key that is bound to it',
    'Bun has no keys that are bound to RSA-PSS; a test of the one file holds what is said',
  ],
  ['chooses for a key of type pss', 'as above'],
  ['PS256 with a key made for SHA-384', 'as above'],
  ['RS256 with an RSA-PSS key', 'as above'],
  ['a direct request for client credentials loads nothing beside', 'asks Node for its list of modules'],
  ['of three hundred requests nothing stays behind', 'counts objects with an instrument of V8'],
  ['a curve of no algorithm', 'Bun has no keys on secp256k1'],
  ['it loads neither commander nor the network', 'asks Node for its list of modules'],
  ["a helper's hit reads what a hit reads and one file more", 'is about the files that Node reads'],
  ['a program that is in our place has our process id', 'asks the runtime of the tests what it can do'],
  [
    'writes neither a diagnostic report nor a heap snapshot',
    'is about options of Node, which Bun does not have',
  ],
  [
    'without a word where it is an upgrade',
    "Bun's server reads no upgrade before the answer to what was asked ahead of it is whole",
  ],
  ['without a word where it is a WebSocket', 'as above'],
  [
    'it takes the socket that a service manager opened',
    'Bun listens at no socket that it did not open: the one file says so, and a test of its own holds that',
  ],
  ['it takes no socket of a service manager', 'as above'],
  ['it takes a unix socket of a service manager', 'as above'],
]
