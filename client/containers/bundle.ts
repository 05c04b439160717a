/**
 * A container's bundle: `config.json`, and the files of `/etc` that it is shown. What is looked up (users in the image, devices and files of
 * the host) is looked up here; what becomes of it is decided in spec.ts.
 */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname as hostsName } from 'node:os'
import { join } from 'node:path'
import { readFileInRoot } from '../../native/rooted-file.ts'
import type { ImageProcess } from '../model/image-process.ts'
import { ownIds } from '../store/own-ids.ts'
import { chosenCapabilities } from './capabilities.ts'
import { cgroupsPath, hasUserSystemd } from './cgroups-path.ts'
import type { ResolvedMount } from './mount-spec.ts'
import { hostsFile, resolverFile } from './network-files.ts'
import type { ContainerRequest, SecurityRequest } from './request.ts'
import { RequestError } from './request-error.ts'
import { defaultSeccomp, type SeccompProfile } from './seccomp.ts'
import { containerSpec, type SpecInput } from './spec.ts'
import { type AccountFiles, resolveUser, userHere } from './user.ts'

const ACCOUNT_FILE_LIMIT_BYTES = 10 * 1024 * 1024
const SHORT_ID_CHARACTERS = 12
const INIT_IN_CONTAINER = '/sbin/gantry-init'

export interface BundleInput {
  /** Where it is written; its root filesystem is mounted at `rootfs` in it. */
  readonly folder: string
  readonly id: string
  readonly image: ImageProcess
  readonly architecture: string
  readonly request: ContainerRequest
  readonly mounts: readonly ResolvedMount[]
  readonly joined?: SpecInput['joined']
  /** The files of another container, whose network it joins. */
  readonly networkFiles?: { readonly folder: string; readonly hostname: string }
  readonly consoleSize?: { readonly columns: number; readonly rows: number }
}

/** One of the container's folder. */
export interface BundleFile {
  readonly name: string
  readonly text: string
  readonly mode: number
}

/** Throws `RequestError`, `UserError`. */
export async function writeBundle(input: BundleInput): Promise<void> {
  // Here and now, as all such small files: the way to another thread and back takes ten times as long. Made anew for each start: nothing to be durable.
  for (const { name, text, mode } of await bundleFiles(input)) {
    const path = join(input.folder, name)
    writeFileSync(path, text, { mode })
    chmodSync(path, mode) // whatever the umask: the container's users have to read it
  }
}

/** What is written. Throws `RequestError`, `UserError`. */
export async function bundleFiles(input: BundleInput): Promise<readonly BundleFile[]> {
  const { folder, image, request } = input
  const hostname = hostnameOf(input)
  const rootfs = join(folder, 'rootfs')
  const written = input.networkFiles ? [] : networkFiles(request, hostname)
  const files = sourcesOf(input)
  const apparmorProfile = apparmor(request)
  const initProgram = request.init ? await import('./init-program.ts') : undefined
  const devices =
    request.privileged || request.devices?.length ? await (await import('./host-devices.ts')).hostDevices(request) : []
  const ids = ownIds()
  if (!ids.mayChangeGroups && request.groups?.length)
    throw new RequestError('--group-add needs more ids than your own (subgid(5); Debian: apt install uidmap)')
  const cgroups = cgroupsPath({
    ...{ id: input.id, parent: request.cgroupParent },
    byUserSystemd: !ids.isHost && hasUserSystemd(),
  })
  const spec = containerSpec({
    image,
    request,
    user: userHere(resolveUser(request.user ?? image.User ?? '', accountFiles(rootfs), request.groups), ids),
    ids,
    hostname,
    seccomp: await seccompProfile(request, input.architecture),
    files: initProgram ? [...files, { source: initProgram.INIT_PROGRAM, destination: INIT_IN_CONTAINER }] : files,
    mounts: input.mounts,
    devices,
    ...(cgroups === undefined ? {} : { cgroupsPath: cgroups }),
    ...(initProgram ? { init: INIT_IN_CONTAINER } : {}),
    ...(input.joined ? { joined: input.joined } : {}),
    ...(apparmorProfile === undefined ? {} : { apparmorProfile }),
    ...(input.consoleSize ? { consoleSize: input.consoleSize } : {}),
  })
  return [...written, { name: 'config.json', text: JSON.stringify(spec), mode: 0o600 }]
}

/** With the host's UTS or network namespace the host's own. */
export function hostnameOf({
  id,
  request,
  networkFiles,
}: Pick<BundleInput, 'id' | 'request' | 'networkFiles'>): string {
  if (request.uts === 'host') return hostsName()
  if (request.hostname !== undefined) return request.hostname
  if (networkFiles) return networkFiles.hostname
  return request.network === 'host' ? hostsName() : id.slice(0, SHORT_ID_CHARACTERS)
}

const NETWORK_FILES = ['resolv.conf', 'hostname', 'hosts'] as const

function sourcesOf(input: BundleInput): SpecInput['files'] {
  const folder = input.networkFiles?.folder ?? input.folder
  return NETWORK_FILES.map((name) => ({ destination: `/etc/${name}`, source: join(folder, name) }))
}

function networkFiles(request: ContainerRequest, hostname: string): readonly BundleFile[] {
  const host = { resolver: hostsText('/etc/resolv.conf'), hosts: hostsText('/etc/hosts') }
  const domain = request.domainname ? `.${request.domainname}` : ''
  const texts = [resolverFile(request, host), `${hostname}${domain}\n`, hostsFile(request, host)]
  return NETWORK_FILES.map((name, i) => ({ name, text: texts[i] ?? '', mode: 0o644 }))
}

/** Empty where the host has no such file, or none to be read. */
export function hostsText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** The texts of the container's `/etc/passwd` and `/etc/group`, whose links are resolved inside of it. */
export function accountFiles(rootfs: string): AccountFiles {
  const read = (path: string): string => {
    try {
      return readFileInRoot(rootfs, path, ACCOUNT_FILE_LIMIT_BYTES)?.toString('utf8') ?? ''
    } catch (cause) {
      throw new RequestError(`cannot look users up in the image: ${(cause as Error).message}`, 125, { cause })
    }
  }
  return { passwd: read('/etc/passwd'), group: read('/etc/group') }
}

async function seccompProfile(request: SecurityRequest, architecture: string): Promise<SeccompProfile | undefined> {
  if (request.privileged || request.seccomp === 'unconfined') return undefined
  const capabilities = chosenCapabilities(request)
  if (request.seccomp === undefined) return defaultSeccomp(architecture, capabilities)
  const { readSeccompFile } = await import('./seccomp-file.ts')
  return await readSeccompFile(request.seccomp, architecture, capabilities)
}

const APPARMOR = '/sys/kernel/security/apparmor'
/** Of this machine, what a bundle is made from beside the image and what was asked. */
export const HOST_FILES = ['/etc/resolv.conf', '/etc/hosts', `${APPARMOR}/profiles`] as const
const USUAL_PROFILES = ['gantry-default', 'docker-default']

/** Where the host enforces it: the profile that was asked for, or the first of the usual ones that is loaded. */
function apparmor({ apparmor: asked, privileged }: SecurityRequest): string | undefined {
  if (!existsSync(APPARMOR)) {
    if (asked !== undefined && asked !== 'unconfined')
      throw new RequestError(`--security-opt apparmor=${asked}: this machine does not enforce AppArmor profiles`)
    return undefined
  }
  if (asked !== undefined) return asked
  if (privileged) return undefined
  const loaded = hostsText(`${APPARMOR}/profiles`)
  return USUAL_PROFILES.find((name) => loaded.split('\n').some((line) => line.startsWith(`${name} (`)))
}
