/**
 * JSON that somebody else wrote, read field by field. Each refusal is a `ManifestInvalid` that names the place, what is
 * there and what would be right. `null` is absence: Go's encoder writes it for an empty list.
 */
import { ManifestInvalid } from '../errors.ts'

export type Json = { readonly [field: string]: unknown }

/** A byte order mark is refused with everything else that is not JSON: `JSON.parse` would pass over it, clients do not. */
export function parseObject(bytes: Uint8Array): Json {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch (cause) {
    throw new ManifestInvalid('$', `no JSON (${(cause as Error).message})`, 'a JSON document in UTF-8', { cause })
  }
  return object(value, '$')
}

export function object(value: unknown, path: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ManifestInvalid(path, show(value), 'an object')
  }
  return value as Json
}

export function list(value: unknown, path: string, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new ManifestInvalid(path, show(value), `a list of ${what}`)
  return value
}

export function string(value: unknown, path: string, what = 'a string'): string {
  if (typeof value !== 'string') throw new ManifestInvalid(path, show(value), what)
  return value
}

/** `undefined` for what is absent. */
export function optional<T>(value: unknown, path: string, read: (value: unknown, path: string) => T): T | undefined {
  return isAbsent(value) ? undefined : read(value, path)
}

export const isAbsent = (value: unknown): value is undefined | null => value === undefined || value === null

export function stringMap(value: unknown, path: string): Readonly<Record<string, string>> {
  for (const [key, text] of Object.entries(object(value, path))) {
    if (typeof text !== 'string') throw new ManifestInvalid(`${path}[${show(key)}]`, show(text), 'a string')
  }
  return value as Record<string, string>
}

/** What is nested is only named: printing it recurses as deep as somebody cared to nest it. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  const cut = typeof value === 'string' && value.length > 80 ? `${value.slice(0, 80)}…` : value
  return JSON.stringify(cut)
}
