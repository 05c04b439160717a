/**
 * The HTTP servers around the application: time-outs fit for uploads of hours, a limit on connections, clear answers to what
 * is not even HTTP, and a stop that lets running answers finish. Relies on nothing of the registry's protocol.
 */
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { type Address, AddressUnusable, printUrl } from './address.ts'
import { type ConnectionOptions, Connections } from './connections.ts'
import { type HandshakeOptions, Handshakes } from './tls/handshakes.ts'
import type { TlsKeeper } from './tls/keeper.ts'

export interface ListenOptions extends ConnectionOptions, HandshakeOptions {
  readonly headersMs: number
  readonly keepAliveMs: number
  /** With it all TCP addresses speak TLS, and nothing else. Sockets in files do not leave the machine: they stay plain. */
  readonly tls?: TlsKeeper | undefined
}

/** Room for manifests pushed with many `tag` parameters. */
const MAX_HEADER_BYTES = 32 * 1024

export interface Listener {
  /** With the real ports. */
  readonly addresses: readonly Address[]
  /** Of the first address. */
  readonly url: string
  /**
   * Accepts no more, closes idle connections, resolves when the running answers are out or after `graceMs`, having
   * called `lastCall` shortly before that; then cuts what remains.
   */
  stop(graceMs: number, lastCall: () => Promise<void>): Promise<void>
}

/** Throws `AddressUnusable`, listening nowhere, if one of the addresses cannot be had. */
export async function listen(
  app: RequestListener,
  addresses: readonly Address[],
  options: ListenOptions,
): Promise<Listener> {
  const connections = new Connections(options)
  const servers: Server[] = []
  try {
    for (const address of addresses) servers.push(await bind(address, app, connections, options))
  } catch (error) {
    for (const server of servers) server.close()
    throw error
  }
  const bound = servers.map((server) => addressOf(server))
  return {
    addresses: bound,
    url: bound[0] ? printUrl(bound[0], options.tls !== undefined) : '',
    async stop(graceMs, lastCall) {
      connections.stop()
      await closeWithin(servers, connections, graceMs, lastCall)
    },
  }
}

async function bind(
  address: Address,
  app: RequestListener,
  connections: Connections,
  options: ListenOptions,
): Promise<Server> {
  const serve: RequestListener = (req, res) => {
    connections.answering(req.socket, res)
    app(req, res)
  }
  const keeper = 'port' in address ? options.tls : undefined
  const server = keeper ? tlsServer(keeper, serve, options) : createServer(httpOptions(options), serve)
  // A client that has said all (FIN) may still be listening: Node would otherwise end our side before the answer is out.
  Object.assign(server, { httpAllowHalfOpen: true })
  server.setTimeout(options.idleMs)
  server.on('timeout', (socket) => connections.idle(socket))
  server.on('checkContinue', serve) // whoever wants the body says `100 Continue`
  server.on('checkExpectation', serve) // what we cannot do is ignored (RFC 9110 section 10.1.1): Node would answer 417 without a body
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => connections.refuseGarbage(error, socket))
  const accept = server.listeners('connection') as ((socket: Socket) => void)[]
  const handOn = (socket: Socket): void => {
    for (const listener of accept) listener.call(server, socket)
  }
  const handshakes = keeper && new Handshakes(server, connections, options)
  server.removeAllListeners('connection').on('connection', (socket) => {
    if (!connections.admit(socket, server, !handshakes)) return
    if (handshakes) handshakes.begin(socket, handOn)
    else handOn(socket)
  })

  const { promise: listening, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', (cause) => reject(new AddressUnusable(address, cause))).listen(address, resolve)
  await listening
  return server
}

const httpOptions = ({ headersMs, keepAliveMs }: ListenOptions) => ({
  requestTimeout: 0, // Node's limit on whole requests would cut long uploads
  headersTimeout: headersMs,
  connectionsCheckingInterval: Math.min(30_000, Math.ceil(headersMs / 2)),
  keepAliveTimeout: keepAliveMs,
  maxHeaderSize: MAX_HEADER_BYTES,
  noDelay: true,
})

function tlsServer(keeper: TlsKeeper, serve: RequestListener, options: ListenOptions): Server {
  const { context } = keeper.identity
  // Without a certificate, or with one that we do not believe, a client may still log in: who it is, is asked at each request.
  const clients = { requestCert: keeper.asksClients, rejectUnauthorized: false }
  const server = createTlsServer(
    { ...httpOptions(options), ...context, ...clients, ALPNProtocols: ['http/1.1'] },
    serve,
  )
  keeper.onChange((changed) => server.setSecureContext(changed))
  return server
}

function addressOf(server: Server): Address {
  const bound = server.address() as AddressInfo | string
  return typeof bound === 'string' ? { path: bound } : { host: bound.address, port: bound.port }
}

/** The last call comes after most of the time, so that uploads which end by themselves may. */
async function closeWithin(
  servers: readonly Server[],
  connections: Connections,
  graceMs: number,
  lastCall: () => Promise<void>,
): Promise<void> {
  const closed = Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))))
  for (const server of servers) server.closeIdleConnections()
  if (await settlesWithin(closed, graceMs * 0.7)) return
  await settlesWithin(Promise.all([closed, lastCall()]), graceMs * 0.3)
  connections.cutAll()
  await closed
}

async function settlesWithin(work: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>()
  const timer = setTimeout(() => resolve(false), milliseconds)
  try {
    return await Promise.race([work.then(() => true as const), late])
  } finally {
    clearTimeout(timer)
  }
}
