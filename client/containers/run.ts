/**
 * An image becomes a container: a folder and a mount of its own, a `config.json`, and a process that the native runtime starts. Everything
 * is taken down in reverse order, however it ends.
 */
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { readFileInRoot } from '../../native/rooted-file.ts'
import { type ExitStatus, type RunningContainer, Runtime, RuntimeError } from '../../native/runtime.ts'
import type { Images, LocalImage } from '../images.ts'
import type { StoreFolders } from '../store.ts'
import { type Container, Containers } from './containers.ts'
import { defaultSeccomp, type SeccompProfile } from './seccomp.ts'
import { CAPABILITIES, containerSpec, type ProcessRequest } from './spec.ts'
import { resolveUser } from './user.ts'

const ACCOUNT_FILE_LIMIT_BYTES = 10 * 1024 * 1024
const SHORT_ID_CHARACTERS = 12

export interface RunRequest extends ProcessRequest {
  /** `USER[:GROUP]`; else the image's. */
  readonly user?: string
  /** Its folder goes when it ends. */
  readonly autoRemove?: boolean
  /** What becomes of system calls: the default profile unless it is `unconfined` or the path of another one. */
  readonly seccomp?: string
  /** Pass this process's stdin on. */
  readonly interactive?: boolean
}

export interface ImageRun {
  readonly id: string
  /** The master of its pseudo-terminal, if it was asked for; the caller owns it. */
  readonly terminal?: number
  kill(signal: number): void
  /** Resolves when it has ended and is taken down: its status as a shell reports it, 128+n for a signal. */
  readonly exited: Promise<number>
}

/** The container could not be started; `exitCode` is what docker exits with. */
export class StartError extends Error {
  override readonly name = 'StartError'
  readonly exitCode: number

  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** Throws `SpecError`, `UserError`, `StartError`; then nothing of the container is left if it was to be removed. */
export async function startImage(
  store: StoreFolders,
  images: Images,
  image: LocalImage,
  request: RunRequest,
): Promise<ImageRun> {
  await using stack = new AsyncDisposableStack()
  const starting = Runtime.start()
  starting.catch(() => {}) // awaited below
  stack.defer(async () => await (await starting.catch(() => undefined))?.close()) // also when what follows fails first
  const container = await createContainer(store, images, image, request)
  stack.defer(() => (request.autoRemove ? container.remove() : container.close(START_FAILED)))
  await writeBundle(container, image, request)
  const runtime = await starting.catch((cause: unknown) => {
    throw new StartError(`the runtime does not start: ${(cause as Error).message}`, START_FAILED, { cause })
  })
  stack.defer(() => runtime.close())
  const running = await start(runtime, container, request)
  await container.started()
  const cleanup = stack.move()
  return {
    id: container.id,
    ...(running.terminal === undefined ? {} : { terminal: running.terminal }),
    kill: (signal) => running.kill(signal),
    exited: ended(running, container, cleanup),
  }
}

const START_FAILED = 125
const EXITED_BY_SIGNAL = 128

async function ended(running: RunningContainer, container: Container, cleanup: AsyncDisposableStack): Promise<number> {
  await using _ = cleanup
  const exitCode = shellStatus(await running.exited)
  await container.ended(exitCode)
  return exitCode
}

const shellStatus = (status: ExitStatus): number => ('code' in status ? status.code : EXITED_BY_SIGNAL + status.signal)

async function createContainer(
  store: StoreFolders,
  images: Images,
  image: LocalImage,
  request: RunRequest,
): Promise<Container> {
  await using _ = await store.lock('store', 'shared') // until its record names the layers, nothing may sweep them
  const layers = await images.layers.find(image.config.diffIds)
  if (layers === undefined)
    throw new StartError(`the layers of ${image.name} are not unpacked; pull it again`, START_FAILED)
  return await new Containers(store).create({
    image: image.name,
    imageId: image.id,
    command: [...(request.command ?? [])],
    autoRemove: request.autoRemove ?? false,
    layers,
  })
}

async function writeBundle(container: Container, image: LocalImage, request: RunRequest): Promise<void> {
  const hostname = container.id.slice(0, SHORT_ID_CHARACTERS)
  const user = resolveUser(request.user ?? image.config.process.User ?? '', {
    passwd: accountFile(container, '/etc/passwd'),
    group: accountFile(container, '/etc/group'),
  })
  const resolver = await readFile('/etc/resolv.conf', 'utf8').catch(() => '') // a host without one has none to share
  const files = [
    { destination: '/etc/resolv.conf', source: await container.write('resolv.conf', resolver, 0o644) },
    { destination: '/etc/hostname', source: await container.write('hostname', `${hostname}\n`, 0o644) },
    { destination: '/etc/hosts', source: await container.write('hosts', hostsFile(), 0o644) },
  ]
  const seccomp = await seccompProfile(request, image.config.platform.architecture)
  const spec = containerSpec({ image: image.config.process, request, user, hostname, seccomp, files })
  await container.write('config.json', JSON.stringify(spec), 0o600)
}

async function seccompProfile({ seccomp }: RunRequest, architecture: string): Promise<SeccompProfile | undefined> {
  if (seccomp === 'unconfined') return undefined
  if (seccomp === undefined) return defaultSeccomp(architecture, CAPABILITIES)
  const { readSeccompFile } = await import('./seccomp-file.ts')
  return await readSeccompFile(seccomp, architecture, CAPABILITIES)
}

function accountFile(container: Container, path: string): string {
  try {
    return readFileInRoot(container.rootfs, path, ACCOUNT_FILE_LIMIT_BYTES)?.toString('utf8') ?? ''
  } catch (cause) {
    throw new StartError(`cannot look users up in the image: ${(cause as Error).message}`, START_FAILED, { cause })
  }
}

const hostsFile = (): string =>
  [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    '',
  ].join('\n')

async function start(runtime: Runtime, container: Container, request: RunRequest): Promise<RunningContainer> {
  const ownInput = request.interactive ? undefined : openSync('/dev/null', 'r')
  try {
    const stdio = request.terminal === undefined ? ([ownInput ?? 0, 1, 2] as const) : 'terminal'
    return await runtime.run({ id: container.id, bundle: container.folder, stdio })
  } catch (cause) {
    if (!(cause instanceof RuntimeError)) throw cause
    throw new StartError(cause.message, startExitCode(cause), { cause })
  } finally {
    if (ownInput !== undefined) closeSync(ownInput)
  }
}

const NOT_FOUND = new Set<number>([constants.errno.ENOENT, constants.errno.ENOTDIR])
const NOT_EXECUTABLE = new Set<number>([
  constants.errno.EACCES,
  constants.errno.EISDIR,
  constants.errno.ENOEXEC,
  constants.errno.EPERM,
])

/** 127: the command is not there; 126: it cannot be executed; 125: anything else that went wrong before it. */
function startExitCode({ step, errno }: RuntimeError): number {
  if (step !== 'exec') return START_FAILED
  if (NOT_FOUND.has(errno)) return 127
  return NOT_EXECUTABLE.has(errno) ? 126 : START_FAILED
}
