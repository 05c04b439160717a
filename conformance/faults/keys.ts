import type { StorageDriver } from '../../storage/driver.ts'

/** Every key that begins with `prefix`, in no order. */
export async function keysBelow(place: Pick<StorageDriver, 'list'>, prefix: string): Promise<string[]> {
  const names = await Array.fromAsync(place.list(prefix))
  const deeper = await Promise.all(
    names.map((name) => (name.endsWith('/') ? keysBelow(place, prefix + name) : [prefix + name])),
  )
  return deeper.flat()
}
