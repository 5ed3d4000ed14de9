#!/usr/bin/env node
'use strict'
// Starts dist/cli with V8's code cache, so that a cache hit costs little more than starting Node. Rules:
//  - The cache is for speed alone: missing, torn, or made by another Node or from another build, it is not used.
//  - It is code, so one that others may write, or that belongs to another user, is not used either.
//  - Nothing here is needed for the program to be right; it runs the same without the cache.

// This file stays in the language of old Nodes, so that they get as far as this line.
var have = process.versions.node.split('.').map(Number)
if (have[0] < 20 || (have[0] === 20 && (have[1] < 18 || (have[1] === 18 && have[2] < 1)))) {
  console.error(`tokctl: error: Node.js 20.18.1 or newer is needed, this is ${process.versions.node}`)
  process.exit(1)
}

const fs = require('node:fs')
const { Script } = require('node:vm')

const directory = `${__dirname}/../dist/cli/`
// V8 checks its own version and flags; this adds what it does not check: the machine, and the very build.
const machine = [
  process.version,
  process.platform,
  process.arch,
  process.config.variables.v8_enable_pointer_compression,
].join(' ')
const tagLength = 128

/** Chunks: name → function of (exports, require, module), or the name of the file that has it where that is another. */
const chunks = Object.create(null)
const modules = Object.create(null)
const files = []

function requireChunk(name) {
  if (!name.startsWith('./')) return require(name)
  const known = modules[name]
  if (known !== undefined) return known.exports
  if (typeof chunks[name] !== 'function') readFile(chunks[name] || name)
  const module = {
    exports: {},
    get url() {
      return require('node:url').pathToFileURL(`${directory}${name}`).href
    },
  }
  modules[name] = module
  chunks[name](module.exports, requireChunk, module)
  return module.exports
}

function readFile(name) {
  const path = directory + name.slice(2)
  const source = fs.readFileSync(path, 'latin1')
  const tag = `${source.slice(0, 68)}${machine}`.padEnd(tagLength).slice(0, tagLength)
  const cachePath = `${path.slice(0, -'cjs'.length)}cache`
  const cachedData = readCache(cachePath, tag)
  const script = new Script(source, { filename: path, cachedData })
  files.push({
    name,
    script,
    tag,
    cachePath,
    cached: cachedData !== undefined && script.cachedDataRejected === false,
  })
  Object.assign(chunks, script.runInThisContext())
}

function readCache(path, tag) {
  try {
    const fd = fs.openSync(path)
    try {
      if (!isTrusted(fs.fstatSync(fd))) return undefined
      const found = fs.readFileSync(fd)
      if (found.latin1Slice(0, tagLength) === tag) return found.subarray(tagLength)
    } finally {
      fs.closeSync(fd)
    }
  } catch {}
  return undefined
}

/** A cache is code: only we and root may have written it. */
function isTrusted(stats) {
  if (!stats.isFile()) return false
  if (process.geteuid === undefined) return true
  return (stats.uid === 0 || stats.uid === process.geteuid()) && (stats.mode & 0o022) === 0
}

/** Keeps what was compiled, for the next start. Does nothing where the cache was good, or cannot be written. */
function saveCodeCache() {
  for (const file of files) {
    if (!file.cached) writeCache(file)
  }
}

function writeCache({ script, tag, cachePath }) {
  const temporary = `${cachePath}.${process.pid}.tmp`
  try {
    const fd = fs.openSync(temporary, 'wx', 0o644)
    try {
      fs.writeFileSync(fd, Buffer.concat([Buffer.from(tag, 'latin1'), script.createCachedData()]))
      // V8 checks the length of what it is given, not each byte: after a crash there must be all of it, or nothing.
      fs.fsyncSync(fd)
    } finally {
      fs.closeSync(fd)
    }
    fs.renameSync(temporary, cachePath)
  } catch {
    try {
      fs.unlinkSync(temporary)
    } catch {}
  }
}

exports.files = files
exports.modules = modules
exports.saveCodeCache = saveCodeCache

requireChunk('./main.cjs').main({ saveCodeCache, script: __filename })
