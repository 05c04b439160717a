/** Where a server listens: `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`. */
import { isIP } from 'node:net'

export type Address = TcpAddress | UnixAddress

interface TcpAddress {
  readonly host: string
  /** 0: the system chooses. */
  readonly port: number
}

export interface UnixAddress {
  /** Absolute. */
  readonly path: string
}

/** The kernel's `sun_path`, without its closing NUL. */
const LONGEST_SOCKET_PATH_BYTES = 107

export const ADDRESS_FORM = `HOST:PORT such as 127.0.0.1:5000 or [::1]:5000 with PORT from 0 to 65535 (0 takes a free one), or unix:/absolute/path of at most ${LONGEST_SOCKET_PATH_BYTES} bytes`

/** `undefined` for what is no address. */
export function parseAddress(text: string): Address | undefined {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length)
    const sound = path.startsWith('/') && !path.includes('\0') && Buffer.byteLength(path) <= LONGEST_SOCKET_PATH_BYTES
    return sound ? { path } : undefined
  }
  const [, bracketed, plain, digits = ''] = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})$/.exec(text) ?? []
  const host = bracketed ?? plain
  const port = Number(digits)
  if (host === undefined || port > 65_535 || (bracketed !== undefined && isIP(bracketed) !== 6)) return undefined
  return { host, port }
}

export function printAddress(address: Address): string {
  if ('path' in address) return `unix:${address.path}`
  return `${isIP(address.host) === 6 ? `[${address.host}]` : address.host}:${address.port}`
}

/** As a browser or curl would be given it; a socket's path is not part of any URL that clients agree on. */
export const printUrl = (address: Address, secure = false): string =>
  'path' in address ? printAddress(address) : `${secure ? 'https' : 'http'}://${printAddress(address)}`

/** Whether only this machine can reach it. */
export const isLocal = (address: Address): boolean =>
  'path' in address ||
  address.host === 'localhost' ||
  address.host === '::1' ||
  (isIP(address.host) === 4 && address.host.startsWith('127.'))

/** The system's error, which is the cause, with the address that it is about. */
export class AddressUnusable extends Error {
  override readonly name = 'AddressUnusable'
  readonly address: Address

  constructor(address: Address, cause: unknown) {
    super(`cannot listen on ${printAddress(address)}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    })
    this.address = address
  }
}
