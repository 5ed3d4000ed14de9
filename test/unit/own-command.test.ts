import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ownCommand } from '../../src/core/own-command.ts'

// What other tools' configurations start us with.

/** A directory with a node, a script, and a `bin` for `PATH`. */
function machine(): { node: string; script: string; binary: string; bin: string } {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'tokctl-own-')))
  onTestFinished(() => rmSync(path, { recursive: true }))
  const program = (name: string): string => {
    writeFileSync(join(path, name), '#!/bin/sh\n')
    chmodSync(join(path, name), 0o755)
    return join(path, name)
  }
  const bin = join(path, 'bin')
  mkdirSync(bin)
  return { node: program('node-20.20.2'), script: program('tokctl.js'), binary: program('tokctl-1.0'), bin }
}

describe('the words that start this program', () => {
  test('are Node and the script where PATH has neither, without the options that Node was given', () => {
    const { node, script, bin } = machine()
    const self = [node, '--max-old-space-size=99', script]
    expect(ownCommand({ self, env: { PATH: bin }, platform: 'linux' })).toEqual([node, script])
    // Where nobody may look.
    symlinkSync(join(bin, 'loop'), join(bin, 'loop'))
    const env = { PATH: join(bin, 'loop') }
    expect(ownCommand({ self, env, platform: 'linux' })).toEqual([node, script])
  })

  test('are those that PATH has for the same files, which outlive an upgrade', () => {
    const { node, script, bin } = machine()
    symlinkSync(node, join(bin, 'node'))
    symlinkSync(script, join(bin, 'tokctl'))
    const ask = { self: [node, script], env: { PATH: `relative:${bin}` } }
    expect(ownCommand({ ...ask, platform: 'linux' })).toEqual([join(bin, 'node'), join(bin, 'tokctl')])
    expect(ownCommand({ ...ask, platform: 'win32' })).toEqual([node, script])
  })

  test('are not those of another program of the same name', () => {
    const { node, script, binary, bin } = machine()
    symlinkSync(binary, join(bin, 'tokctl'))
    symlinkSync(binary, join(bin, 'node'))
    expect(ownCommand({ self: [node, script], env: { PATH: bin }, platform: 'linux' })).toEqual([
      node,
      script,
    ])
  })

  test('are one where the program needs no interpreter', () => {
    const { binary, bin } = machine()
    const ask = { self: [binary], env: { PATH: bin }, platform: 'linux' } as const
    expect(ownCommand(ask)).toEqual([binary])
    symlinkSync(binary, join(bin, 'tokctl'))
    expect(ownCommand(ask)).toEqual([join(bin, 'tokctl')])
  })
})
