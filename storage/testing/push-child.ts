/** A registry's storage at work beside others on one folder: pushes manifests to one tag, and prints their digests. */
import { openFsDriver } from '../fs/driver.ts'
import { OCI_INDEX } from '../model/media-type.ts'
import { parseRepositoryName, parseTag } from '../model/reference.ts'
import { openStore } from '../open.ts'

export const RACED = { repository: parseRepositoryName('race/of-processes'), tag: parseTag('latest') }

async function pushAll(folder: string, label: string, times: number): Promise<void> {
  const store = await openStore(await openFsDriver(folder))
  const repository = store.repository(RACED.repository)
  for (let n = 0; n < times; n += 1) {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [], annotations: { label, n: `${n}` } }))
    const { digest } = await repository.putManifest({ mediaType: OCI_INDEX, bytes, tags: [RACED.tag] })
    process.stdout.write(`${digest}\n`)
  }
  await store.close()
}

if (import.meta.main) {
  const [folder = '', label = '', times = ''] = process.argv.slice(2)
  await pushAll(folder, label, Number(times))
}
