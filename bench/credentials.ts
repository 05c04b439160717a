/**
 * What it costs to know who asks, once they are known: the same small request without accounts, with a token, and with a name and a
 * password, turn by turn. CPU time of the server, which does not depend on what the load generator leaves over.
 */
import { join } from 'node:path'
import { z } from 'zod'
import { type Contestant, cpuSeconds, startRestricted } from './contestants.ts'
import { median, table } from './figures.ts'
import { putLoad } from './load.ts'
import type { Fixture } from './registry-fixture.ts'

const ROUNDS = 5
const SLICE_SECONDS = 1
const CONNECTIONS = 8
const [NAME, PASSWORD] = ['bench', 'correct horse']

/** `open` serves `fixture` from `folder`/gantry to everybody. Resolves to the text to print. */
export async function benchCredentials(
  generator: string,
  folder: string,
  open: Contestant,
  fixture: Fixture,
): Promise<string> {
  await using restricted = await startRestricted(join(folder, 'gantry'), NAME, PASSWORD)
  const login = `Basic ${Buffer.from(`${NAME}:${PASSWORD}`).toString('base64')}`
  const token = await tokenFrom(restricted.url, fixture.name, login)
  const callers: readonly Caller[] = [
    { name: 'anonymous', server: open, headers: {}, samples: [] },
    { name: 'Bearer', server: restricted, headers: { Authorization: `Bearer ${token}` }, samples: [] },
    { name: 'Basic', server: restricted, headers: { Authorization: login }, samples: [] },
  ]
  const path = `/v2/${fixture.name}/manifests/latest`
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const { server, headers, samples } of callers) {
      const before = await cpuSeconds(server.pid)
      const job = { scenario: 'request', method: 'HEAD', path, headers } as const
      const placed = { address: server.host, connections: CONNECTIONS, seconds: SLICE_SECONDS, ...job }
      const { operations } = await putLoad(generator, placed)
      const microseconds = (((await cpuSeconds(server.pid)) - before) * 1e6) / operations
      if (round > 0) samples.push(microseconds) // the first warms up
    }
  }
  const base = median(callers[0]?.samples ?? [])
  const rows = callers.map(({ name, samples }) => {
    const cpu = median(samples)
    return [name, cpu.toFixed(0), (cpu - base).toFixed(0)]
  })
  return [
    `Who asks, HEAD of a manifest at ${CONNECTIONS} connections: median of ${ROUNDS} slices each, turn by turn.`,
    table([['', 'cpu µs', 'more than anonymous'], ...rows]),
  ].join('\n')
}

interface Caller {
  readonly name: string
  readonly server: Contestant
  readonly headers: Readonly<Record<string, string>>
  readonly samples: number[]
}

async function tokenFrom(url: string, repository: string, login: string): Promise<string> {
  const query = new URLSearchParams({ service: 'gantry', scope: `repository:${repository}:pull` })
  const response = await fetch(`${url}/token?${query}`, { headers: { Authorization: login } })
  return z.object({ token: z.string() }).parse(await response.json()).token
}
