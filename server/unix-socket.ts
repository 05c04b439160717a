/**
 * Socket files outlive the process that made them. A live one is another server's and is left alone; a dead one is removed. Two
 * that start at once are told apart by an abstract socket of the same name, which the kernel gives to one, until it ends.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { lstat, unlink } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { type Address, AddressUnusable, type UnixAddress } from './address.ts'

/** Makes way for listening on the sockets among these addresses, and keeps others out until it is disposed. Throws `AddressUnusable`. */
export async function claimSockets(addresses: readonly Address[]): Promise<AsyncDisposable> {
  const claims: Server[] = []
  const release = async (): Promise<void> => {
    await Promise.all(claims.map((claim) => new Promise((resolve) => claim.close(resolve))))
  }
  try {
    for (const address of addresses) {
      if (!('path' in address)) continue
      claims.push(await claim(address))
      await removeDead(address)
    }
  } catch (error) {
    await release()
    throw error
  }
  return { [Symbol.asyncDispose]: release }
}

async function claim(address: UnixAddress): Promise<Server> {
  const server = createServer((socket) => socket.destroy())
  // The name of an abstract socket has no more room than a path.
  server.listen(`\0gantry-${createHash('sha256').update(address.path).digest('base64url')}`)
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw new AddressUnusable(address, cause)
  }
  return server
}

async function removeDead(address: UnixAddress): Promise<void> {
  try {
    const found = await lstat(address.path)
    if (!found.isSocket()) throw Object.assign(new Error('it is there, and no socket'), { code: 'ENOTSOCK' })
    if (await answers(address.path))
      throw Object.assign(new Error('another server listens there'), { code: 'EADDRINUSE' })
    await unlink(address.path)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw new AddressUnusable(address, cause)
  }
}

/** Only a refusal proves that nobody listens: a full queue or a lack of rights does not. */
async function answers(path: string): Promise<boolean> {
  const socket = connect(path)
  try {
    await once(socket, 'connect')
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ECONNREFUSED'
  } finally {
    socket.destroy()
  }
}
