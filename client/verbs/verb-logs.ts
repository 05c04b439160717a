/** `gantry logs`. */

import { type LogEntry, readContainerLog } from '../../native/container-log.ts'
import { connectMonitor, MonitorGone } from '../../native/monitor.ts'
import { openHouse } from '../containers/house.ts'
import { look } from '../containers/lifecycle.ts'
import { parseInteger } from '../containers/quantities.ts'
import { RequestError } from '../containers/request-error.ts'
import { isAlive } from '../containers/state.ts'
import { moment } from './moments.ts'

export interface LogsFlags {
  readonly root: string
  readonly follow?: boolean
  readonly tail: string
  readonly since?: string
  readonly until?: string
  readonly timestamps?: boolean
  readonly details?: boolean
}

/** Each stream goes to its own; with -f until the container ends. */
export async function logsVerb(reference: string, flags: LogsFlags, write = toProcess): Promise<void> {
  const { record, folder, state } = await look(await openHouse(flags.root), reference)
  if (record.request.log?.driver === 'none')
    throw new RequestError(`the container ${reference} keeps no log: it was made with --log-driver none`, 1)
  if (state.status === 'created') return
  const now = new Date()
  const tail = flags.tail === 'all' || /^-/.test(flags.tail) ? undefined : parseInteger(flags.tail, '--tail', 0)
  const entries = readContainerLog(folder, {
    ...(tail === undefined ? {} : { tail }),
    ...(flags.since === undefined ? {} : { since: moment(flags.since, now) }),
    ...(flags.until === undefined || flags.until === '0' ? {} : { until: moment(flags.until, now) }),
    ...(flags.follow && isAlive(state) ? { follow: ended(folder) } : {}),
  })
  let begins = true
  for await (const entry of entries) {
    await write(entry.stream, `${flags.timestamps && begins ? `${entry.time} ` : ''}${entry.text}`)
    begins = entry.text.endsWith('\n')
  }
}

/** The container's end, however it comes. */
async function ended(folder: string): Promise<void> {
  try {
    await using monitor = await connectMonitor(folder)
    await monitor.ended()
  } catch (error) {
    if (!(error instanceof MonitorGone)) throw error
  }
}

function toProcess(stream: LogEntry['stream'], text: string): Promise<void> {
  const to = stream === 'stderr' ? process.stderr : process.stdout
  if (to.listenerCount('error') === 0) to.on('error', nobodyReads)
  return new Promise((resolve) => void to.write(text, () => resolve()))
}

/** `gantry logs -f C | head -1` has had all that it wants. */
function nobodyReads(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error
  process.exit()
}
