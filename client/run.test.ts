/** Runs that fail before the container starts: the error arrives, and nothing of the attempt is left, the runtime included. */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import type { LocalImage } from './images.ts'
import { Images } from './images.ts'
import { startImage } from './run.ts'
import { StoreFolders } from './store.ts'

const skip = process.getuid?.() === 0 ? false : 'starting the runtime needs root'

it('closes the runtime it started when the container cannot be prepared', { skip }, async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'gantry-run-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const store = await StoreFolders.open(root)
  const missing = { name: 'localhost:5000/x:1', config: { diffIds: [`sha256:${'0'.repeat(64)}`] } } as unknown
  await assert.rejects(startImage(store, new Images(store), missing as LocalImage, {}), /are not unpacked/)
  assert.deepEqual(await childrenCalled('gantry-runtime'), [])
})

/** The names of this process's children that start with `name` as far as the kernel keeps it (15 bytes). */
async function childrenCalled(name: string): Promise<string[]> {
  const tasks = await readdir('/proc/self/task')
  const lists = await Promise.all(
    tasks.map((task) => readFile(`/proc/self/task/${task}/children`, 'utf8').catch(() => '')),
  )
  const pids = lists.flatMap((list) => list.split(' ').filter((pid) => pid !== ''))
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')))
  return names.filter((each) => each.startsWith(name))
}
