/** The one record that says what a store is: whoever knows less than it says must leave it alone. */
import { randomUUID } from 'node:crypto'
import type { StorageDriver } from './driver.ts'
import { RecordDamaged, StoreFormatUnsupported } from './errors.ts'
import { FORMAT_KEY } from './layout.ts'
import { readRecord, updateRecord } from './records.ts'

const FORMAT = 1

interface StoreFormat {
  readonly format: number
  readonly id: string
}

/** Makes a store of an empty place. Throws `StoreFormatUnsupported` if there is one of a newer version, `RecordDamaged` if nobody can tell. */
export async function demandFormat(driver: StorageDriver): Promise<void> {
  judge(
    await updateRecord<StoreFormat>(
      driver,
      FORMAT_KEY,
      (found) => (found ? undefined : { format: FORMAT, id: randomUUID() }),
      refuse,
    ),
  )
}

/** Writes nothing: also throws `StoreFormatUnsupported` if there is none. */
export async function demandStore(driver: StorageDriver): Promise<void> {
  const found = await readRecord<StoreFormat>(driver, FORMAT_KEY, refuse)
  if (!found) throw new StoreFormatUnsupported('there is no store here')
  judge(found.value)
}

function refuse({ key, problem }: RecordDamaged): never {
  throw new RecordDamaged(
    key,
    `${problem}; what format the store has is not guessed: put the record back from a backup`,
  )
}

function judge(found: StoreFormat | undefined): void {
  if (found?.format === FORMAT) return
  throw new StoreFormatUnsupported(
    `the store has format ${found?.format}, this version knows ${FORMAT}: use a newer gantry`,
  )
}
