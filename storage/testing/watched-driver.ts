/** A real driver, most of whose operations are announced before they are done: the announcement may wait, or fail as a crash would. */
import type { StorageDriver } from '../driver.ts'

const ANNOUNCED = ['stat', 'read', 'readSmall', 'write', 'remove'] as const
type Operation = (typeof ANNOUNCED)[number]

export function watchedDriver(
  driver: StorageDriver,
  before: (operation: Operation, key: string) => Promise<void>,
): StorageDriver {
  return new Proxy(driver, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      const method = value.bind(target) as (...args: unknown[]) => Promise<unknown>
      const operation = ANNOUNCED.find((each) => each === name)
      if (operation === undefined) return method
      return async (...args: unknown[]) => {
        await before(operation, String(args[0]))
        return await method(...args)
      }
    },
  })
}
