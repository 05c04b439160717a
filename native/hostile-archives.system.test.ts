/**
 * What hostile-archives.test.ts says of each attack: that it would succeed without the defence that stops it. The addon is built without one, and the same
 * tests are run on it, by a process of their own, since not every attack leaves the process whole.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { skip } from './testing/unpack.ts'
import { addonWithout } from './testing/without.ts'

const checkout = fileURLToPath(new URL('..', import.meta.url))
const TIMEOUT_MS = 120_000

/** As defence.h has them, below its line about layers. */
async function defences(): Promise<readonly string[]> {
  const header = await readFile(join(checkout, 'native/src/core/defence.h'), 'utf8')
  const [, ofLayers = ''] = header.split('// Of what unpacks layers.')
  return ofLayers.match(/^ {2}k\w+(?=,)/gm)?.map((name) => name.trim()) ?? []
}

describe('without its defence, an archive that it stops', { skip, concurrency: 2 }, async () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-without-'))
  })
  after(async () => await rm(folder, { recursive: true, force: true }))

  /** Where the addon lies, as in the checkout. */
  async function copyWith(addon: string, name: string): Promise<string> {
    const copy = join(folder, name)
    const native = join(checkout, 'native')
    const filter = (path: string): boolean => !['build', 'src', 'fuzz'].some((each) => path === join(native, each))
    await cp(native, join(copy, 'native'), { recursive: true, filter })
    for (const each of ['package.json', 'node_modules']) await symlink(join(checkout, each), join(copy, each))
    await mkdir(join(copy, 'native/build'))
    await copyFile(addon, join(copy, 'native/build/gantry.node'))
    return copy
  }

  for (const defence of await defences())
    it(`does its harm: ${defence}`, async () => {
      const copy = await copyWith(await addonWithout(defence), defence)
      const words = ['--test', '--test-reporter=tap', `--test-timeout=${TIMEOUT_MS}`, 'native/hostile-archives.test.ts']
      const { NODE_TEST_CONTEXT: _, ...env } = process.env // what it says is for us, not for the runner that runs us
      const child = spawn(process.execPath, words, {
        cwd: copy,
        env: { ...env, GANTRY_TEST_WITHOUT: defence },
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
      assert.equal(code, 0, said)
      assert.ok(Number(/^# tests (\d+)$/m.exec(said)?.[1]) > 0, `no attack is named as stopped by ${defence}`)
    })
})
