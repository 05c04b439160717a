/** A plain TCP load balancer: each connection goes to the next of its backends, whoever it comes from; one that refuses is passed over. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { pipeline } from 'node:stream'

export interface Balancer extends AsyncDisposable {
  readonly url: string
  /** Connections that each backend has had. */
  readonly handedOn: readonly number[]
}

export async function startBalancer(backends: readonly string[]): Promise<Balancer> {
  const handedOn = backends.map(() => 0)
  const sockets = new Set<Socket>()
  let turn = 0
  const server = createServer((client) => {
    sockets.add(client)
    client.on('error', () => {}).once('close', () => sockets.delete(client))
    handOn(client, backends.length)
  })

  function handOn(client: Socket, tries: number): void {
    const place = turn++ % backends.length
    const { hostname, port } = new URL(backends[place] ?? '')
    const backend = connect(Number(port), hostname)
    backend.once('error', () => (tries > 1 ? handOn(client, tries - 1) : client.destroy()))
    backend.once('connect', () => {
      handedOn[place] = (handedOn[place] ?? 0) + 1
      backend.removeAllListeners('error')
      // Both directions end together: the clients of a killed backend are told.
      pipeline(client, backend, client, () => {
        client.destroy()
        backend.destroy()
      })
    })
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    handedOn,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
