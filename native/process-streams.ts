/** Descriptors of a container's process as Node streams, which take them over. No thread waits for them. */
import { Socket } from 'node:net'
import { Duplex, type Readable, type Writable } from 'node:stream'
import { ReadStream } from 'node:tty'

/** The writing end of a pipe. A process that reads no longer is an error with the code EPIPE. */
export const inputStream = (fd: number): Writable => new Socket({ fd, readable: false, writable: true })

/** The reading end of a pipe. */
export const outputStream = (fd: number): Readable => new Socket({ fd, readable: true, writable: false })

/** The master of a terminal: it ends when the last process with the other end is gone. Destroying it hangs up. */
export function terminalStream(fd: number): Duplex {
  const master = new ReadStream(fd)
  const stream = new Duplex({
    read: () => void master.resume(),
    write: (chunk: Buffer, _encoding, done) => void master.write(chunk, done),
    destroy: (error, done) => {
      master.destroy()
      done(error)
    },
  })
  master.on('data', (chunk) => {
    if (!stream.push(chunk)) master.pause()
  })
  master.on('error', () => stream.push(null)) // EIO, when the other end is closed
  master.on('end', () => stream.push(null))
  return stream
}
