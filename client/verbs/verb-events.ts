/** `gantry events`: what happens to containers, a line each, until it is interrupted. */
import { type ContainerEvent, containerEvents } from '../containers/events.ts'
import { hasLabels, parseFilters } from '../containers/filters.ts'
import { openHouse } from '../containers/house.ts'
import { RequestError } from '../containers/request-error.ts'
import type { Output } from './output.ts'
import { compileTemplate } from './templates/template.ts'

export interface EventsFlags {
  readonly root: string
  readonly filter: readonly string[]
  readonly format?: string
  readonly json?: boolean
  readonly since?: string
  readonly until?: string
}

const LONGEST_TIMER_MS = 2 ** 31 - 1
const FILTERS = ['container', 'event', 'image', 'label', 'type']

/** Ends at --until, or when nobody reads it. Throws `RequestError`. */
export async function eventsVerb(flags: EventsFlags, output: Output): Promise<void> {
  if (flags.since !== undefined)
    throw new RequestError(
      '--since: nobody is there who would have remembered what happened; leave it out to see what happens from now on',
      1,
    )
  const filters = parseFilters(flags.filter, FILTERS)
  const format = flags.json ? 'json' : flags.format
  const template = format === undefined || format === 'json' ? undefined : compileTemplate(format)
  const { moment } = await import('./moments.ts')
  const end = flags.until === undefined ? undefined : Date.parse(moment(flags.until, new Date()))
  const isOver =
    end === undefined ? [] : [AbortSignal.timeout(Math.min(Math.max(0, end - Date.now()), LONGEST_TIMER_MS))]
  const signal = AbortSignal.any([...(output.unread ? [output.unread] : []), ...isOver])
  for await (const event of containerEvents(await openHouse(flags.root), signal)) {
    if (!matches(event, filters)) continue
    if (format === undefined) output.line(lineOf(event))
    else if (template) output.line(template(documentOf(event)))
    else output.line(JSON.stringify(documentOf(event)))
  }
}

function matches({ record, action }: ContainerEvent, filters: ReadonlyMap<string, readonly string[]>): boolean {
  const any = (key: string, test: (value: string) => boolean): boolean => filters.get(key)?.some(test) ?? true
  return (
    any('container', (name) => record.name === name || record.id.startsWith(name)) &&
    any('event', (name) => action === name || action.startsWith(`${name}:`)) &&
    any('image', (name) => record.image === name || record.image === `${name}:latest`) &&
    any('type', (type) => type === 'container') &&
    hasLabels({ ...record.process.Labels, ...record.request.labels }, filters.get('label') ?? [])
  )
}

const attributesOf = ({ record, attributes }: ContainerEvent): Readonly<Record<string, string>> => ({
  ...record.process.Labels,
  ...record.request.labels,
  ...attributes,
  image: record.image,
  name: record.name,
})

/** `2026-01-02T15:04:05.000Z container die <id> (exitCode=0, image=…, name=…)` */
function lineOf(event: ContainerEvent): string {
  const attributes = Object.entries(attributesOf(event)).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const shown = attributes.map(([key, value]) => `${key}=${value}`).join(', ')
  return `${event.time} container ${event.action} ${event.record.id} (${shown})`
}

/** Docker's. */
function documentOf(event: ContainerEvent): Readonly<Record<string, unknown>> {
  const { record, action, time } = event
  return {
    status: action,
    id: record.id,
    from: record.image,
    Type: 'container',
    Action: action,
    Actor: { ID: record.id, Attributes: attributesOf(event) },
    scope: 'local',
    time: Math.floor(Date.parse(time) / 1000),
    timeNano: Date.parse(time) * 1e6,
  }
}
