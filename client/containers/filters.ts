/** `--filter KEY=VALUE`: which things a list has. One key more than once means any of them, several keys mean all; labels mean all. */

import { RequestError } from './request-error.ts'
import type { Summarized } from './summary.ts'

export type Filters = ReadonlyMap<string, readonly string[]>

/** Throws `RequestError` for a key that is not among `known`. */
export function parseFilters(texts: readonly string[], known: readonly string[]): Filters {
  const filters = new Map<string, string[]>()
  for (const text of texts) {
    const [key = '', value] = text.split(/=(.*)/s)
    if (value === undefined) throw new RequestError(`bad format of filter ${JSON.stringify(text)}: write KEY=VALUE`, 1)
    if (!known.includes(key))
      throw new RequestError(`invalid filter ${JSON.stringify(key)}: there are ${known.join(', ')}`, 1)
    filters.set(key, [...(filters.get(key) ?? []), value])
  }
  return filters
}

/** `KEY` or `KEY=VALUE`. */
export function hasLabels(labels: Readonly<Record<string, string>>, wanted: readonly string[]): boolean {
  return wanted.every((text) => {
    const [key = '', value] = text.split(/=(.*)/s)
    return key in labels && (value === undefined || labels[key] === value)
  })
}

/** As the filters `label` and `label!` want them. */
export const isLabelled = (labels: Readonly<Record<string, string>>, filters: Filters): boolean =>
  hasLabels(labels, filters.get('label') ?? []) &&
  !(filters.get('label!') ?? []).some((unwanted) => hasLabels(labels, [unwanted]))

export const CONTAINER_FILTERS = [
  'id',
  'name',
  'label',
  'status',
  'exited',
  'ancestor',
  'before',
  'since',
  'volume',
  'network',
  'health',
]

const HEALTHS = ['none', 'starting', 'healthy', 'unhealthy']
const STATUSES = ['created', 'restarting', 'running', 'removing', 'paused', 'exited', 'dead']

/** Those of `all`, which are in the order in which they were made. Throws `RequestError`. */
export function filterContainers<Each extends Summarized>(all: readonly Each[], filters: Filters): readonly Each[] {
  const one = (key: string): string | undefined => filters.get(key)?.at(-1)
  const unknown = filters.get('status')?.find((status) => !STATUSES.includes(status))
  if (unknown !== undefined)
    throw new RequestError(`invalid filter 'status=${unknown}': it is one of ${STATUSES.join(', ')}`, 1)
  const health = filters.get('health')?.find((each) => !HEALTHS.includes(each))
  if (health !== undefined)
    throw new RequestError(`invalid filter 'health=${health}': it is one of ${HEALTHS.join(', ')}`, 1)
  const code = filters.get('exited')?.find((text) => !/^-?\d+$/.test(text))
  if (code !== undefined) throw new RequestError(`invalid filter 'exited=${code}': it is an exit code`, 1)
  const place = (reference: string | undefined): number => {
    if (reference === undefined) return -1
    const at = all.findIndex(({ record }) => record.name === reference || record.id.startsWith(reference))
    if (at < 0) throw new RequestError(`no such container: ${reference}`, 1)
    return at
  }
  const [before, since] = [place(one('before')), place(one('since'))]
  return all.filter((each, i) => (before < 0 || i < before) && (since < 0 || i > since) && matches(each, filters))
}

function matches({ record, state }: Summarized, filters: Filters): boolean {
  const any = (key: string, test: (value: string) => boolean): boolean => filters.get(key)?.some(test) ?? true
  const mounts = record.mounts.flatMap((mount) => [
    mount.target,
    ...(mount.type === 'bind' ? [mount.volume?.name ?? mount.source] : []),
  ])
  return (
    any('id', (id) => record.id.startsWith(id)) &&
    any('name', (pattern) => nameMatches(record.name, pattern)) &&
    hasLabels({ ...record.process.Labels, ...record.request.labels }, filters.get('label') ?? []) &&
    any('status', (status) => state.status === status) &&
    any('exited', (code) => state.status === 'exited' && state.exitCode === Number(code)) &&
    any('ancestor', (image) => isImage(record.image, record.imageId, image)) &&
    any('volume', (volume) => mounts.includes(volume)) &&
    any('network', (network) => (record.request.network ?? 'none') === network) &&
    any('health', (health) => (state.health?.status ?? 'none') === health)
  )
}

/** A regular expression, with or without docker's slash before the name. */
function nameMatches(name: string, pattern: string): boolean {
  try {
    const expression = new RegExp(pattern)
    return expression.test(name) || expression.test(`/${name}`)
  } catch {
    return name.includes(pattern)
  }
}

const isImage = (name: string, id: string, wanted: string): boolean =>
  name === wanted || name === `${wanted}:latest` || id === wanted || id.startsWith(`sha256:${wanted}`)
