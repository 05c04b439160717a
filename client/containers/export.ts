/** The whole root filesystem of a container as one tar, as docker's `export`: what its image has and what it has written, without volumes. */
import { join } from 'node:path'
import { packedLayer } from '../../native/layer-pack.ts'
import type { House } from './house.ts'
import { look } from './lifecycle.ts'
import { isAlive } from './state.ts'

/** One that runs goes on meanwhile. Whoever stops reading stops the work. Throws `NoSuchContainer`, and as `packedLayer`. */
export async function* exportContainer(house: House, reference: string): AsyncGenerator<Uint8Array> {
  const { record, folder, state } = await look(house, reference)
  if (isAlive(state)) return yield* packedLayer(join(folder, 'rootfs')) // its monitor holds the lock, and the mount
  await using container = await house.containers.open(record.id)
  await container.mount(record.layers, { lasting: !record.request.autoRemove })
  try {
    yield* packedLayer(container.rootfs)
  } finally {
    await container.unmount()
  }
}
