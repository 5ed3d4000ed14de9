// The runtime in the one file would do what its own variables say before any line of ours runs: be Bun itself (BUN_BE_BUN), load
// code (BUN_OPTIONS), open a debugger (BUN_INSPECT), tell each request with its headers (BUN_CONFIG_VERBOSE_FETCH). No option of
// the compiler keeps it from that. So their names are made such as no variable can have. And beside its own authorities it would
// trust those that OpenSSL's variables and directories hold, which Node does not: the same profile is to trust the same ones.

/** `BUN_`, as x86-64 compares it: cmpb $imm8,disp8(%reg), a jump after each. */
const prefixOnX64 =
  /\x80[\x38-\x3f]\x24?B[\s\S]{2,8}?\x80[\x78-\x7f]\x24?\x01U[\s\S]{2,8}?\x80[\x78-\x7f]\x24?\x02N[\s\S]{2,8}?\x80[\x78-\x7f]\x24?\x03_/g
/**
 * The engine's defaults for a thread that readies 32 blocks of its heap once 64 are in use, as x86-64 stores both at once:
 * movabs $imm64,%reg. A hit has ended before that pays; where several start at once, it costs each a tenth of its time.
 */
const readiedOnX64 = /\x48[\xb8-\xbf]\x20\0\0\0\x40\0\0\0/g
const neverReadied = 0x7fffffff

/**
 * A runtime that obeys no variable of its own, and trusts who Node trusts, changed in place.
 *
 * @param {Buffer} runtime - Bun for that machine
 * @param {string} target - as the compiler names it: `linux-x64`
 * @throws {Error} where the names are not found as they are in the Bun that this was written for
 */
export function ownRuntime(runtime, target) {
  renameVariables(runtime, target)
  trustItsOwnAuthorities(runtime, target)
  if (target.includes('x64')) leaveHeapUnreadied(runtime)
  return runtime
}

// `=` as their first character: setenv(3) takes no such name.
function renameVariables(runtime, target) {
  let renamed = 0
  for (let at = runtime.indexOf('BUN_'); at >= 0; at = runtime.indexOf('BUN_', at + 1)) {
    const name = /^BUN_[A-Z]\w*/.exec(runtime.toString('latin1', at, at + 40))?.[0]
    // No variables, but a define, macros of its C compiler, and names in its own JavaScript, which `=` would break.
    if (name === undefined || /^BUN_(ENV(?!_)|FFI_|WORKER_|PLUGIN_|TEST_)/.test(name)) continue
    if (/[._]/.test(String.fromCharCode(runtime[at - 1]))) continue
    runtime[at] = 0x3d
    renamed++
  }
  const places = enginePrefixes(runtime, target)
  if (places.length !== 1) throw new Error(`${target}: the engine's options are read in another way`)
  places[0].rename()
  if (renamed < 100) throw new Error(`${target}: the runtime's variables are not where they were`)
}

function trustItsOwnAuthorities(runtime, target) {
  for (const name of ['SSL_CERT_FILE', 'SSL_CERT_DIR']) {
    for (const at of wholeTexts(runtime, name, target)) runtime[at] = 0x3d
  }
  // The empty path: any other might be there, in the directory that the program is started in if nowhere else.
  for (const path of ['/etc/ssl/cert.pem', '/etc/ssl/certs']) {
    for (const at of wholeTexts(runtime, path, target)) runtime[at] = 0
  }
}

/** Where a text stands by itself, as C ends it. */
function wholeTexts(runtime, text, target) {
  const found = []
  const whole = `\0${text}\0`
  for (let at = runtime.indexOf(whole); at >= 0; at = runtime.indexOf(whole, at + 1)) found.push(at + 1)
  if (found.length === 0) throw new Error(`${target}: the runtime's ${text} is not where it was`)
  return found
}

// Speed alone depends on it: a runtime that does not have it so is left as it is.
function leaveHeapUnreadied(runtime) {
  const found = [...runtime.toString('latin1').matchAll(readiedOnX64)]
  if (found.length === 1) runtime.writeUInt32LE(neverReadied, found[0].index + 6)
}

/** Where the code compares the prefix of the engine's own options, `BUN_JSC_`, which stands in it character by character. */
function enginePrefixes(runtime, target) {
  if (target.includes('x64')) {
    return [...runtime.toString('latin1').matchAll(prefixOnX64)].map(({ index }) => ({
      rename: () => runtime.writeUInt8(0x3d, runtime.indexOf('B', index)),
    }))
  }
  // cmp wN, #imm12
  const compares = (at, char) =>
    at + 4 <= runtime.length && (runtime.readUInt32LE(at) & 0xfffffc1f) >>> 0 === compareWith(char)
  const found = []
  for (let at = 0; at + 4 <= runtime.length; at += 4) {
    if (!compares(at, 'B')) continue
    let last = at
    for (const char of 'UN_JSC') {
      last =
        [4, 8, 12, 16, 20].map(further => last + further).find(next => compares(next, char)) ?? Number.NaN
    }
    if (Number.isNaN(last)) continue
    const register = runtime.readUInt32LE(at) & 0x3e0
    found.push({ rename: () => runtime.writeUInt32LE((compareWith('=') | register) >>> 0, at) })
  }
  return found
}

function compareWith(char) {
  return (0x7100001f | (char.charCodeAt(0) << 10)) >>> 0
}
