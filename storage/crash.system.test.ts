/** `kill -9` at seeded moments of real work: what was acknowledged stands, and what was not is whole or not there. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { it } from 'node:test'
import { Random } from '../conformance/faults/random.ts'
import { openFsDriver } from './fs/driver.ts'
import { digestOf, parseDigest } from './model/digest.ts'
import { parseRepositoryName, parseTag } from './model/reference.ts'
import { openStore } from './open.ts'
import { parseUploadId, type Store } from './store.ts'
import { type Acknowledged, contentOf } from './testing/crash-child.ts'
import { pieces } from './testing/sources.ts'

const ROUNDS = Number(process.env['GANTRY_CRASH_ROUNDS'] ?? 8)
const SEED = Number(process.env['GANTRY_CRASH_SEED'] ?? Date.now() % 1_000_000)
const CHILD = join(import.meta.dirname, 'testing', 'crash-child.ts')
const name = parseRepositoryName('crash/test')

it(`loses nothing acknowledged in ${ROUNDS} kills (GANTRY_CRASH_SEED=${SEED})`, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-crash-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const random = new Random(SEED)
  const tags = new Map<string, string>()
  for (let round = 0; round < ROUNDS; round += 1) {
    const facts = await workUntilKilled(folder, `${SEED} ${round}`, 20 + random.below(400))
    const store = await openStore(await openFsDriver(folder))
    for (const fact of facts) await demand(store, fact, facts)
    for (const fact of facts) if (fact.kind === 'tag') tags.set(fact.tag, fact.digest)
    await demandTags(store, tags)
    await store.close()
  }
})

/** Kills it some time after its first word. */
async function workUntilKilled(folder: string, run: string, afterMs: number): Promise<readonly Acknowledged[]> {
  const child = spawn(process.execPath, [CHILD, folder, run], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const facts: Acknowledged[] = []
  let kill: (() => void) | undefined = () => void setTimeout(() => child.kill('SIGKILL'), afterMs)
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.endsWith('}')) facts.push(JSON.parse(line) as Acknowledged)
    kill?.()
    kill = undefined
  }
  await exited
  assert.ok(facts.length > 0)
  return facts
}

async function demand(store: Store, fact: Acknowledged, all: readonly Acknowledged[]): Promise<void> {
  if (fact.kind === 'blob') {
    const { body } = await store.repository(name).readBlob(parseDigest(fact.digest))
    const content = Buffer.concat(await Array.fromAsync(body as AsyncIterable<Uint8Array>))
    assert.equal(digestOf(content), fact.digest)
  }
  if (fact.kind === 'offset' && fact === all.findLast(({ kind }) => kind === 'offset')) await goOn(store, fact)
}

/** The upload under way when it was killed: it may have been closed just then; else it goes on where it was acknowledged. */
async function goOn(store: Store, { id, offset, seed }: Extract<Acknowledged, { kind: 'offset' }>): Promise<void> {
  const upload = parseUploadId(id)
  const content = contentOf(seed, 2 * offset)
  const status = await store.uploads.status(name, upload).catch(() => undefined)
  if (status) assert.ok(status.offset >= offset)
  if (status && status.offset < content.length) {
    await store.uploads.append(name, upload, pieces([content.subarray(status.offset)]), { offset: status.offset })
  }
  await store.uploads.commit(name, upload, digestOf(content))
  await store.repository(name).statBlob(digestOf(content))
}

/** A tag points at what was acknowledged last, or at what was being pushed when the kill came. */
async function demandTags(store: Store, tags: Map<string, string>): Promise<void> {
  for (const [tag, digest] of tags) {
    const found = await store.repository(name).getManifest(parseTag(tag))
    assert.equal(digestOf(found.bytes), found.digest)
    await store.repository(name).getManifest(parseDigest(digest))
    tags.set(tag, found.digest)
  }
}
