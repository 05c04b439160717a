/** A container in one line, in docker's words: what `ps` shows of it. Pure but for the clock, which is given. */
import { processArguments } from './process-spec.ts'
import type { ContainerRecord } from './record.ts'
import type { ContainerState } from './state.ts'

export interface Summarized {
  readonly record: ContainerRecord
  readonly state: ContainerState
}

const SHORT_ID = 12
const SHORT_COMMAND = 20
const SHORT_MOUNT = 15

/** The fields that a template can name. `whole`: nothing is shortened. */
export function summaryFields(
  { record, state }: Summarized,
  now: Date,
  whole: boolean,
): Readonly<Record<string, string>> {
  const { id, name, image, created, request, mounts } = record
  const command = commandOf(record)
  const volumes = mounts.filter(({ volume }) => volume !== undefined)
  const shown = mounts.flatMap((mount) => (mount.type === 'bind' ? [mount.volume?.name ?? mount.source] : []))
  return {
    ID: whole ? id : id.slice(0, SHORT_ID),
    Names: name,
    Image: image,
    Command: JSON.stringify(whole ? command : shortened(command, SHORT_COMMAND)),
    CreatedAt: goTime(created),
    RunningFor: `${humanDuration(now.getTime() - Date.parse(created))} ago`,
    State: state.status,
    Status: statusText(state, now),
    Ports: '',
    Labels: Object.entries({ ...record.process.Labels, ...request.labels })
      .map(([key, value]) => `${key}=${value}`)
      .join(','),
    Mounts: shown.map((each) => (whole ? each : shortened(each, SHORT_MOUNT))).join(','),
    LocalVolumes: `${volumes.length}`,
    Networks: request.network ?? 'none',
  }
}

/** A word with a space in it is quoted, which is as docker has it. */
const commandOf = ({ process, request }: ContainerRecord): string =>
  processArguments(process, request)
    .map((word, i) => (i > 0 && word.includes(' ') ? `'${word}'` : word))
    .join(' ')

/** `Up 3 minutes (healthy)` */
export function statusText(state: ContainerState, now: Date): string {
  const since = (time: string): string => humanDuration(now.getTime() - Date.parse(time))
  if (state.status === 'created') return 'Created'
  if (state.status === 'exited') return `Exited (${state.exitCode}) ${since(state.finishedAt || state.startedAt)} ago`
  if (state.status === 'restarting') return `Restarting (${state.exitCode}) ${since(state.finishedAt)} ago`
  const up = `Up ${since(state.startedAt)}`
  if (state.status === 'paused') return `${up} (Paused)`
  if (!state.health) return up
  return `${up} (${state.health.status === 'starting' ? 'health: starting' : state.health.status})`
}

const STEPS = [
  [60 * 60, 60, 'minutes'],
  [48 * 3600, 3600, 'hours'],
  [14 * 86_400, 86_400, 'days'],
  [60 * 86_400, 7 * 86_400, 'weeks'],
  [2 * 365 * 86_400, 30 * 86_400, 'months'],
] as const

/** As docker says it: "About an hour". */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(Math.max(0, ms) / 1000)
  if (seconds < 1) return 'Less than a second'
  if (seconds === 1) return '1 second'
  if (seconds < 60) return `${seconds} seconds`
  if (seconds < 120) return 'About a minute'
  const hours = Math.floor(seconds / 3600 + 0.5)
  if (seconds >= 3600 && hours === 1) return 'About an hour'
  const [, unit, word] = STEPS.find(([end]) => (end === 48 * 3600 ? hours * 3600 : seconds) < end) ?? [
    0,
    365 * 86_400,
    'years',
  ]
  return `${unit === 3600 ? hours : Math.floor(seconds / unit)} ${word}`
}

/** As Go prints a time. */
function goTime(iso: string): string {
  return `${iso.slice(0, 19).replace('T', ' ')} +0000 UTC`
}

const shortened = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length - 1)}…` : text
