#!/usr/bin/env node
process.argv.splice(2, 0, 'helper', 'terraform')
require('./tokctl.js')
