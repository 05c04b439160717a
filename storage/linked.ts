/** All content of a store, by what is known of it: the blobs that some repository was ever linked to. */
import type { StorageDriver } from './driver.ts'
import { linkedDigest, linkedPrefix } from './layout.ts'
import { DIGEST_ALGORITHMS, type Digest } from './model/digest.ts'

/** By digest, each once. Some may not be stored any more, or not yet. */
export async function* listLinked(driver: StorageDriver): AsyncGenerator<Digest> {
  for (const algorithm of DIGEST_ALGORITHMS) {
    for await (const folder of driver.list(linkedPrefix(algorithm))) {
      for await (const entry of driver.list(linkedPrefix(algorithm) + folder)) yield linkedDigest(algorithm, entry)
    }
  }
}
