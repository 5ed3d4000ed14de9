'use strict'
// Runs the program in this process and keeps its code cache at the end.
// KEEP names the file to be kept: `main.cjs`, or `others` for all but that. TOLD is where the chunks that were used are listed.
const { writeFileSync } = require('node:fs')
const { join } = require('node:path')

const { KEEP, TOLD } = process.env
const program = join(__dirname, '..', 'bin', 'tokctl.js')
process.argv[1] = program
const { files, modules, saveCodeCache } = require(program)

process.on('exit', () => {
  for (const file of files) file.cached = (file.name === './main.cjs') !== (KEEP === 'main.cjs')
  saveCodeCache()
  writeFileSync(TOLD, JSON.stringify(Object.keys(modules)))
})
