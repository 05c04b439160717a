/**
 * A registry's storage at work, to be killed at any moment: pushes blobs in pieces, manifests and tag moves into the folder
 * that it is given, for ever, and says on standard output what was acknowledged.
 */
import { createHash } from 'node:crypto'
import { openFsDriver } from '../fs/driver.ts'
import { digestOf } from '../model/digest.ts'
import { OCI_MANIFEST } from '../model/media-type.ts'
import { parseRepositoryName, parseTag } from '../model/reference.ts'
import { openStore } from '../open.ts'
import { pieces } from './sources.ts'

export type Acknowledged =
  | { readonly kind: 'offset'; readonly id: string; readonly offset: number; readonly seed: string }
  | { readonly kind: 'blob'; readonly digest: string; readonly seed: string; readonly sizeBytes: number }
  | { readonly kind: 'tag'; readonly tag: string; readonly digest: string }

const CONFIG = Buffer.from('{}')

/** The same bytes for the same seed, in every process. */
export function contentOf(seed: string, sizeBytes: number): Buffer {
  const pattern = createHash('sha512').update(seed).digest()
  return Buffer.alloc(sizeBytes, pattern)
}

async function work(folder: string, run: string): Promise<never> {
  const acknowledge = (fact: Acknowledged): boolean => process.stdout.write(`${JSON.stringify(fact)}\n`)
  const store = await openStore(await openFsDriver(folder))
  const name = parseRepositoryName('crash/test')
  const repository = store.repository(name)
  const first = await store.uploads.start(name)
  await store.uploads.commit(name, first.id, digestOf(CONFIG), pieces([CONFIG]))
  for (let n = 0; ; n += 1) {
    const seed = `${run} ${n}`
    const content = contentOf(seed, 40_000 + 1000 * (n % 50))
    const { id } = await store.uploads.start(name)
    const half = content.length >> 1
    await store.uploads.append(name, id, pieces([content.subarray(0, half)]))
    acknowledge({ kind: 'offset', id, offset: half, seed })
    const digest = digestOf(content)
    await store.uploads.commit(name, id, digest, pieces([content.subarray(half)]))
    acknowledge({ kind: 'blob', digest, seed, sizeBytes: content.length })
    const small = contentOf(`${seed} whole`, 1_000 + n)
    const session = await store.uploads.start(name)
    const lengthBytes = small.length
    await store.uploads.commit(name, session.id, digestOf(small), pieces([small]), { lengthBytes })
    acknowledge({ kind: 'blob', digest: digestOf(small), seed: `${seed} whole`, sizeBytes: lengthBytes })
    const config = {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: digestOf(CONFIG),
      size: CONFIG.length,
    }
    const layers = [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size: content.length }]
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers }))
    const pushed = await repository.putManifest({ mediaType: OCI_MANIFEST, bytes, tags: [parseTag(`n${n % 5}`)] })
    acknowledge({ kind: 'tag', tag: `n${n % 5}`, digest: pushed.digest })
  }
}

if (import.meta.main) await work(process.argv[2] ?? '', process.argv[3] ?? '')
