/**
 * An archive made to harm, as a test: that it fails. In a process whose addon was built without the defence that stops it (`GANTRY_TEST_WITHOUT`, set by
 * ../hostile-archives.system.test.ts) the same test has to fail: one that would pass there, too, would show nothing.
 */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { it } from 'node:test'
import { Archive } from './archive.ts'
import { inFolder, type LayerOptions, unpackTo } from './unpack.ts'

/** A name of src/core/defence.h; or, in words, why there is no line that could be left out. */
type StoppedBy = `k${string}` | { readonly because: string }

const without = process.env['GANTRY_TEST_WITHOUT']

export function attack(stoppedBy: StoppedBy, what: string, fails: () => Promise<void>): void {
  if (without === undefined) it(what, fails)
  else if (without === stoppedBy)
    it(`${what}, succeeds`, async () => assert.ok(await succeeds(fails), 'it was stopped'))
}

/** It does if what was to be harmed is, or was unpacked; not if it is only refused in other words. */
async function succeeds(fails: () => Promise<void>): Promise<boolean> {
  try {
    await fails()
    return false
  } catch (error) {
    if (!(error instanceof assert.AssertionError)) throw error
    return error.operator !== 'match'
  }
}

/** `expected`: what the refusal says, so that an archive that is refused for another reason is noticed. Nothing but the layer may change. */
export async function refused(archive: Uint8Array, expected: RegExp, options: LayerOptions = {}): Promise<void> {
  await inFolder(async (folder) => {
    await victims(folder)
    await refusedIn(folder, archive, expected, options)
  })
}

/** `lower`: folders of layers below. */
export async function refusedIn(
  folder: string,
  archive: Uint8Array,
  expected: RegExp,
  options: LayerOptions = {},
  lower: readonly string[] = [],
): Promise<void> {
  const failure = await unpackTo(join(folder, 'layer'), archive, lower, options).then(
    () => undefined,
    (error: Error) => error,
  )
  await unharmed(folder)
  assert.ok(failure, 'it was unpacked')
  assert.match(failure.message, expected)
}

export async function harmless(
  fill: (archive: Archive, folder: string) => unknown,
  look: (layer: string) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    await victims(folder)
    const archive = new Archive()
    fill(archive, folder)
    await unpackTo(join(folder, 'layer'), archive.bytes())
    await unharmed(folder)
    await look(join(folder, 'layer'))
  })
}

/** Beside the layer lies what attackers want. */
export async function victims(folder: string): Promise<void> {
  await mkdir(join(folder, 'outside'), { mode: 0o700 })
  await writeFile(join(folder, 'outside/secret'), 'secret', { mode: 0o600 })
}

async function unharmed(folder: string): Promise<void> {
  const there = (await readdir(folder)).filter((name) => !name.startsWith('lower'))
  assert.deepEqual(there.sort(), ['layer', 'layer.blob', 'outside'])
  const outside = await stat(join(folder, 'outside'))
  assert.deepEqual([outside.mode & 0o7777, outside.uid], [0o700, 0])
  assert.deepEqual(await readdir(join(folder, 'outside')), ['secret'])
  assert.equal(await readFile(join(folder, 'outside/secret'), 'utf8'), 'secret')
  const secret = await stat(join(folder, 'outside/secret'))
  assert.deepEqual([secret.mode & 0o7777, secret.uid, secret.nlink], [0o600, 0, 1])
}
