/** Devices of the host that a container is given: `--device`, and all of them with `--privileged`. */
import { lstat, readdir, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { ContainerRequest, DeviceRequest } from './request.ts'
import { RequestError } from './request-error.ts'
import type { HostDevice } from './resources.ts'

/** The container has these of its own. */
const OWN = new Set(['/dev/pts', '/dev/shm', '/dev/mqueue', '/dev/fd', '/dev/.lxc', '/dev/.udev', '/dev/console'])

const PERMISSIONS = 0o7777
const MAJOR = (device: number): number => ((device >> 8) & 0xfff) | (Number(BigInt(device) >> 32n) & ~0xfff)
const MINOR = (device: number): number => (device & 0xff) | ((device >> 12) & 0xfff00)

/** Throws `RequestError` if one of those asked for is not there. */
export async function hostDevices(request: ContainerRequest): Promise<readonly HostDevice[]> {
  if (request.privileged) return await below('/dev', '/dev', 'rwm')
  const found = await Promise.all((request.devices ?? []).map(devicesOf))
  return found.flat()
}

async function devicesOf({ source, target, access }: DeviceRequest): Promise<readonly HostDevice[]> {
  const status = await stat(source).catch((cause: NodeJS.ErrnoException) => {
    throw new RequestError(`--device ${source}: there is no such device on this machine (${cause.code})`, 125, {
      cause,
    })
  })
  if (!status.isDirectory()) {
    const device = await deviceAt(source, target, access, stat)
    if (device === undefined) throw new RequestError(`--device ${source}: it is no device node`)
    return [device]
  }
  const devices = await below(source, target, access)
  if (devices.length === 0) throw new RequestError(`--device ${source}: there is no device in this folder`)
  return devices
}

async function below(folder: string, target: string, access: string): Promise<readonly HostDevice[]> {
  const found: HostDevice[] = []
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (OWN.has(path)) continue
    const inside = join(target, relative(folder, path))
    if (entry.isDirectory()) found.push(...(await below(path, inside, access)))
    const device = await deviceAt(path, inside, access, lstat)
    if (device) found.push(device)
  }
  return found
}

async function deviceAt(
  path: string,
  target: string,
  access: string,
  look: typeof stat | typeof lstat,
): Promise<HostDevice | undefined> {
  const status = await look(path).catch(() => undefined) // it may go at any time
  if (!status?.isBlockDevice() && !status?.isCharacterDevice()) return undefined
  return {
    path: target,
    type: status.isBlockDevice() ? 'b' : 'c',
    major: MAJOR(status.rdev),
    minor: MINOR(status.rdev),
    fileMode: status.mode & PERMISSIONS,
    uid: status.uid,
    gid: status.gid,
    access,
  }
}

/** `SOURCE[:TARGET[:ACCESS]]` */
export function parseDeviceFlag(text: string): DeviceRequest {
  const [source = '', second, third, ...more] = text.split(':')
  const [target, access] =
    second !== undefined && third === undefined && /^[rwm]+$/.test(second)
      ? [source, second]
      : [second || source, third ?? 'rwm']
  if (more.length > 0 || !source.startsWith('/') || !target.startsWith('/') || !/^[rwm]{1,3}$/.test(access))
    throw new RequestError(
      `invalid device ${JSON.stringify(text)}: write SOURCE[:TARGET[:ACCESS]], for example /dev/fuse:/dev/fuse:rw`,
    )
  return { source, target, access }
}
