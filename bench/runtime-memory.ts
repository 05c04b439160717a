/** What holds one detached container in memory: our monitor, and conmon as podman starts it. */
import { mkdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { run, succeed } from '../conformance/support/commands.ts'
import { findAll } from '../conformance/support/needs.ts'
import { startMonitor } from '../native/monitor.ts'
import { writeMonitorPlan } from '../native/monitor-plan.ts'

export interface Holder {
  readonly name: string
  readonly residentKb: number
  /** Of that, what one more of it adds; the rest is files, which all that are alike share. */
  readonly anonymousKb: number
}

const SETTLED_MS = 300
const CREATION_TIMEOUT_MS = 10_000
const POLL_MS = 10

/** `bundle`: a container that waits. Peers that are not installed are left out. */
export async function measureHolders(folder: string, bundle: string): Promise<readonly Holder[]> {
  const [conmon] = await findAll('conmon')
  const [runc] = await findAll('runc')
  const found = [await ourMonitor(folder, bundle)]
  if (conmon !== undefined && runc !== undefined) found.push(await underConmon(folder, bundle, conmon, runc))
  return found
}

async function ourMonitor(folder: string, bundle: string): Promise<Holder> {
  writeMonitorPlan(bundle, {
    id: `gantry-bench-held-${process.pid}`,
    stateRoot: join(folder, 'held'),
    terminal: false,
    stdin: 'none',
    ownNetwork: false,
    log: { driver: 'json-file', maxSizeBytes: 0, maxFiles: 1 },
    restart: { policy: 'no', maximumRetries: 0 },
    stop: { signal: 9, timeoutMs: 0 },
  })
  await using connection = await startMonitor(bundle)
  const { monitor } = await connection.start()
  try {
    return await sizes("Gantry's monitor", monitor.pid)
  } finally {
    await connection.stop()
  }
}

async function underConmon(folder: string, bundle: string, conmon: string, runc: string): Promise<Holder> {
  const id = `gantry-bench-conmon-${process.pid}`
  const place = join(folder, 'conmon')
  const [exits, root] = [join(place, 'exits'), join(place, 'runc')]
  await mkdir(exits, { recursive: true })
  const files = [
    '--bundle',
    bundle,
    '--container-pidfile',
    join(place, 'pid'),
    '--conmon-pidfile',
    join(place, 'conmon.pid'),
  ]
  const places = ['--log-path', `k8s-file:${join(place, 'log')}`, '--exit-dir', exits, '--socket-dir-path', place]
  const runtime = ['--runtime', runc, '--runtime-arg', '--root', '--runtime-arg', root]
  await succeed(conmon, ['--cid', id, '--cuuid', id, '--name', id, ...runtime, ...files, ...places])
  try {
    await appeared(join(place, 'pid')) // conmon returns before it has created the container
    await succeed(runc, ['--root', root, 'start', id])
    return await sizes('conmon', Number(await readFile(join(place, 'conmon.pid'), 'utf8')))
  } finally {
    await run(runc, ['--root', root, 'delete', '--force', id])
  }
}

async function appeared(path: string): Promise<void> {
  for (const end = performance.now() + CREATION_TIMEOUT_MS; performance.now() < end; await delay(POLL_MS)) {
    if (await stat(path).catch(() => undefined)) return
  }
  throw new Error(`conmon did not create a container: there is no ${path}`)
}

async function sizes(name: string, pid: number): Promise<Holder> {
  await delay(SETTLED_MS)
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  const fields = new Map([...text.matchAll(/^(\w+):\s+(\d+) kB$/gm)].map(([, field = '', kb]) => [field, Number(kb)]))
  return { name, residentKb: fields.get('Rss') ?? 0, anonymousKb: fields.get('Anonymous') ?? 0 }
}
