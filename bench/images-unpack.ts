/** `LAYOUT TAG ROOT`: unpacks a layout's image into a fresh local store, as a pull does behind the download; prints what its stages cost. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { chainIds, Layers } from '../client/store/layers.ts'
import { StoreFolders } from '../client/store/store.ts'
import type { UnpackCost } from '../native/layer-unpack.ts'
import { type Digest, parseDigest } from '../storage/model/digest.ts'

const PARALLEL_LAYERS = 4
const [layout = '', tag = '', root = ''] = process.argv.slice(2)
const blob = (digest: string): string => join(layout, 'blobs', digest.replace(':', '/'))
const json = async (path: string) => JSON.parse(await readFile(path, 'utf8'))

const { manifests } = await json(join(layout, 'index.json'))
const chosen = manifests.find((entry: { annotations: Record<string, string> }) =>
  Object.values(entry.annotations).includes(tag),
)
const manifest = await json(blob(chosen.digest))
const config = await json(blob(manifest.config.digest))
const diffIds: readonly Digest[] = config.rootfs.diff_ids.map(parseDigest)
const chain = chainIds(diffIds)
const layers = new Layers(await StoreFolders.open(root))

const costs: UnpackCost[] = []
const pending = diffIds.map(() => Promise.withResolvers<Awaited<ReturnType<typeof layers.unpack>>>())
let next = 0
const worker = async (): Promise<void> => {
  while (next < diffIds.length) {
    const i = next++
    const { digest, size } = manifest.layers[i]
    const source = {
      digest: parseDigest(digest),
      diffId: diffIds[i] as Digest,
      compressedBytes: size,
      isNew: true,
      path: blob(digest),
      onCost: (cost: UnpackCost) => costs.push(cost),
    }
    pending[i]?.resolve(await layers.unpack(source, chain[i] as Digest))
  }
}
const workers = Array.from({ length: PARALLEL_LAYERS }, worker)
const folders: string[] = []
for (const { promise } of pending) folders.push(await (await promise).publish(folders))
await Promise.all(workers)
const sum = (stage: keyof UnpackCost): number => costs.reduce((total, cost) => total + cost[stage], 0)
const stages = ['inflateMs', 'hashMs', 'parseMs', 'fillMs', 'finishMs'] as const
process.stdout.write(JSON.stringify(Object.fromEntries(stages.map((stage) => [stage, sum(stage)]))))
