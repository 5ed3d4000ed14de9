#!/usr/bin/env node
process.argv.splice(2, 0, 'helper', 'docker')
require('./tokctl.js')
