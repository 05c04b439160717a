/** Asks a store's driver for what everything else needs of it: that it takes a write, and gives back what was written. */
import type { StorageDriver } from './driver.ts'
import { FORMAT_KEY, PROBE_KEY } from './layout.ts'
import { readRecord, updateRecord } from './records.ts'

/** Throws what the driver throws, `StorageUnavailable` first of all. Without `write` it only reads. */
export async function probeStorage(driver: StorageDriver, { write }: { readonly write: boolean }): Promise<void> {
  // One record for all: whoever asks at the same time has proven the same. The name is never deleted, so nothing is left over.
  if (write)
    await updateRecord<object>(
      driver,
      PROBE_KEY,
      () => ({}),
      () => ({}), // it says nothing
    )
  await readRecord(driver, write ? PROBE_KEY : FORMAT_KEY)
}
