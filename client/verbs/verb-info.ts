/** `gantry info`: the store, what is in it, and the machine, by the names that docker's templates have. */
import { readFile } from 'node:fs/promises'
import { arch, availableParallelism, hostname, release, totalmem } from 'node:os'
import { openHouse } from '../containers/house.ts'
import { containerState, isAlive } from '../containers/state.ts'
import { Images } from '../images/images.ts'
import { ownIds } from '../store/own-ids.ts'
import type { Output } from './output.ts'
import { printDocuments } from './templates/listing.ts'
import { ownVersion } from './verb-version.ts'

export interface InfoFlags {
  readonly root: string
  readonly format?: string
  readonly json?: boolean
}

/** As the kernel names them; docker's document does, too. */
const MACHINES: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' }
const GIB = 2 ** 30

export async function infoVerb(flags: InfoFlags, output: Output): Promise<void> {
  const { store, containers } = await openHouse(flags.root)
  const records = await containers.list()
  const states = await Promise.all(records.map(({ id }) => containerState(containers.folder(id))))
  const count = (status: string): number => states.filter((state) => state.status === status).length
  const info = {
    Containers: states.length,
    ContainersRunning: states.filter(isAlive).length - count('paused'),
    ContainersPaused: count('paused'),
    ContainersStopped: states.length - states.filter(isAlive).length,
    Images: new Set((await new Images(store).list()).map(({ id }) => id)).size,
    Driver: 'overlay',
    LoggingDriver: 'json-file',
    CgroupDriver: ownIds().isHost ? 'cgroupfs' : 'systemd', // an ordinary user's own, where he has any
    CgroupVersion: await cgroupVersion(),
    DefaultRuntime: 'gantry-runtime',
    KernelVersion: release(),
    OperatingSystem: await operatingSystem(),
    OSType: 'linux',
    Architecture: MACHINES[arch()] ?? arch(),
    NCPU: availableParallelism(),
    MemTotal: totalmem(),
    DockerRootDir: store.root,
    Name: hostname(),
    SecurityOptions: ['name=seccomp,profile=default', ...(ownIds().isHost ? [] : ['name=rootless'])],
    ServerVersion: await ownVersion(),
  }
  if (flags.json || flags.format !== undefined)
    return printDocuments([info], flags.json ? 'json' : flags.format, output)
  output.line(`Gantry ${info.ServerVersion}, no daemon
 Store: ${info.DockerRootDir}
 Containers: ${info.Containers}
  Running: ${info.ContainersRunning}
  Paused: ${info.ContainersPaused}
  Stopped: ${info.ContainersStopped}
 Images: ${info.Images}
 Storage driver: ${info.Driver}
 Log driver: ${info.LoggingDriver}
 Runtime: ${info.DefaultRuntime}
 Control groups: version ${info.CgroupVersion}
 Kernel: ${info.KernelVersion}
 Operating system: ${info.OperatingSystem}
 Architecture: ${info.Architecture}
 Processors: ${info.NCPU}
 Memory: ${(info.MemTotal / GIB).toFixed(2)}GiB
 Name: ${info.Name}`)
}

/** 2 only where that is all there is. */
async function cgroupVersion(): Promise<'1' | '2'> {
  const there = await readFile('/sys/fs/cgroup/cgroup.controllers').catch(() => undefined)
  return there === undefined ? '1' : '2'
}

async function operatingSystem(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '')
  const [, name = 'Linux'] = /^PRETTY_NAME="?(.*?)"?$/m.exec(text) ?? []
  return name
}
