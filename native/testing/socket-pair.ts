/** Two ends of a TCP connection, one of which nobody in this process reads. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'

export interface SocketPair {
  /** Node does not read it. */
  readonly near: Socket
  readonly far: Socket
  /** Of the near end. */
  readonly descriptor: number
}

export async function socketPair(t: TestContext): Promise<SocketPair> {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const far = connect((server.address() as { port: number }).port, '127.0.0.1')
  const [near] = (await once(server, 'connection')) as [Socket]
  server.close()
  for (const socket of [near, far]) socket.on('error', () => {})
  t.after(() => {
    near.destroy()
    far.destroy()
  })
  return { near, far, descriptor: (near as unknown as { _handle: { fd: number } })._handle.fd }
}
