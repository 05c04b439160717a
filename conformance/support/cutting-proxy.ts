/**
 * A network that breaks: passes connections on to a port of this machine, and closes some of them after a number of bytes in
 * one direction. It knows nothing of HTTP.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface Cuts {
  /** Of the two ways, the one whose bytes are counted: `up` is towards the server. */
  readonly way: 'up' | 'down'
  /** A connection is closed when it has carried this many. */
  readonly afterBytes: number
  /** How many connections are; those after them live. */
  readonly times: number
}

export interface CuttingProxy extends AsyncDisposable {
  /** `127.0.0.1:<port>` */
  readonly host: string
  /** How many connections were closed so far. */
  cuts(): number
  /** What all connections together carried, the closed ones included. */
  bytes(way: 'up' | 'down'): number
}

export async function startCuttingProxy(port: number, plan: Cuts): Promise<CuttingProxy> {
  const open = new Set<Socket>()
  const carried = { up: 0, down: 0 }
  let cuts = 0
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    let counted = 0
    const carry = (way: 'up' | 'down', from: Socket, to: Socket): void => {
      from.on('data', (bytes: Buffer) => {
        carried[way] += bytes.length
        if (way === plan.way) counted += bytes.length
        if (way === plan.way && counted > plan.afterBytes && cuts < plan.times) {
          cuts += 1
          near.destroy()
          far.destroy()
        } else if (!to.write(bytes)) {
          from.pause()
          to.once('drain', () => from.resume())
        }
      })
      from.on('end', () => to.end())
      from.on('error', () => to.destroy())
      from.on('close', () => open.delete(from))
      open.add(from)
    }
    carry('up', near, far)
    carry('down', far, near)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cuts: () => cuts,
    bytes: (way) => carried[way],
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close')
      server.close()
      for (const socket of open) socket.destroy()
      await closed
    },
  }
}
