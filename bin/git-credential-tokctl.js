#!/usr/bin/env node
process.argv.splice(2, 0, 'helper', 'git')
require('./tokctl.js')
