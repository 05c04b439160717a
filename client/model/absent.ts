/** Lists and maps without a value in docker's documents: in JSON `null`, or left out; empty where a template looks at them, as Go's are. */

const asJson = <Value extends object>(value: Value, json: null | undefined): Value =>
  Object.freeze(Object.defineProperty(value, 'toJSON', { value: () => json }))

export const ABSENT_LIST: readonly string[] = asJson([], null)
export const ABSENT_MAP: Readonly<Record<string, never>> = asJson({}, null)
export const OMITTED_MAP: Readonly<Record<string, never>> = asJson({}, undefined)
