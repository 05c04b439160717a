/**
 * The entry of a worker process: serves as it is told by the process that began it, and ends when that wants it, or is gone.
 * It is not for the command line.
 */
import cluster from 'node:cluster'
import { openLogs } from './log.ts'
import { CannotServe } from './reasons.ts'
import { type Serving, startServing } from './serving.ts'
import type { FromWorker, ToWorker } from './worker-messages.ts'

/** How often others hear what clients spent here. */
const TELL_EVERY_MS = 100

const say = (message: FromWorker): Promise<void> =>
  new Promise((resolve) => process.send?.(message, undefined, undefined, () => resolve()) ?? resolve())

let serving: Promise<Serving> | undefined
let stopping = false

process.on('message', (message: ToWorker) => void hear(message))
// A terminal sends its signals to everyone at once, and an operator may stop one worker: it ends as gracefully as the whole.
process.on('SIGTERM', () => void stop()).on('SIGINT', () => void stop())

async function hear(message: ToWorker): Promise<void> {
  if (message.say === 'begin') {
    serving ??= begin(message)
    return
  }
  if (message.say === 'stop') return await stop()
  if (message.say === 'reopen logs') return void process.emit('SIGHUP')
  const running = await serving
  if (!running) return
  if (message.say === 'spent') running.rateLimit?.learn(message.spent, performance.now())
  else {
    const problem = await running.problem()
    const report = { ...(problem === undefined ? {} : { problem }), metrics: await running.snapshot() }
    await say({ say: 'told', question: message.question, report })
  }
}

async function begin({ config, workers }: ToWorker & { say: 'begin' }): Promise<Serving> {
  try {
    const running = await startServing(config, openLogs(config, { worker: cluster.worker?.id }), workers)
    await say({ say: 'listening', addresses: running.addresses })
    const { rateLimit } = running
    if (rateLimit) {
      setInterval(() => {
        const spent = rateLimit.told()
        if (spent.length > 0) void say({ say: 'spent', spent })
      }, TELL_EVERY_MS).unref()
    }
    return running
  } catch (error) {
    if (!(error instanceof CannotServe)) throw error
    await say({ say: 'cannot', reason: error.message })
    process.exit(1)
  }
}

async function stop(): Promise<void> {
  if (stopping) return
  stopping = true
  await (await serving)?.stop()
  process.exit(0)
}
