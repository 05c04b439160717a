/**
 * A virtual machine for one program: a kernel, an initramfs made of the files that are named, and a serial console, which
 * is all that comes out. It has neither disk nor network, and is emulated: slow to compute, and the same everywhere. Its two
 * processors take turns on one thread, have no instructions that are calls of the emulator (AVX), and a kernel that defends
 * nobody against them: together a third less to compute. The kernel is told to believe their clock, which it would otherwise
 * give up on a busy host, for one that takes a system call and the emulator's device.
 */
import { chmod, copyFile, mkdir, readFile, stat, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Kernel } from './cloud-kernel.ts'
import { succeed } from './commands.ts'

const MEMORY_MIB = 1536
const TIMEOUT_MS = 8 * 60_000

export interface Machine {
  readonly kernel: Kernel
  /** By their path in the machine; copied with their mode. */
  readonly files: ReadonlyMap<string, string>
  /** The shell script that is process 1; it has busybox, and what it ends with should be `poweroff -f`. */
  readonly init: string
  /** An empty directory for what the machine is made of. */
  readonly directory: string
}

/** Boots, and resolves to what the console said when the machine has ended. Throws when that takes too long. */
export async function boot({ kernel, files, init, directory }: Machine): Promise<string> {
  const root = join(directory, 'root')
  for (const name of ['bin', 'proc', 'sys', 'dev', 'tmp', 'run', 'new'])
    await mkdir(join(root, name), { recursive: true })
  await put('/bin/busybox', join(root, 'bin/busybox'))
  for (const [path, source] of files) await put(source, join(root, path))
  await writeFile(join(root, 'init'), init)
  await chmod(join(root, 'init'), 0o755)

  const initramfs = join(directory, 'initramfs')
  await succeed('sh', ['-c', 'find . | busybox cpio -o -H newc >"$0"', initramfs], { cwd: root })
  const console = join(directory, 'console') // a pipe that is not read at once would lose what is written
  await succeed(
    'qemu-system-x86_64',
    [
      ['-accel', 'tcg,thread=single', '-cpu', 'Nehalem', '-smp', '2', '-m', String(MEMORY_MIB)],
      ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', `file:${console}`],
      ['-kernel', kernel.image, '-initrd', initramfs],
      [
        '-append',
        'console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable swapaccount=1 apparmor=1 security=apparmor',
      ],
    ].flat(),
    { timeoutMs: TIMEOUT_MS },
  ).catch(async (cause: Error) => {
    throw new Error(`${cause.message}\nand on the console: ${await readFile(console, 'utf8')}`, { cause })
  })
  return await readFile(console, 'utf8')
}

/** The paths of an executable's shared libraries, and of what loads them; those of the folders come before this machine's. */
export async function librariesOf(executable: string, folders: readonly string[] = []): Promise<readonly string[]> {
  const env = { ...process.env, LD_LIBRARY_PATH: folders.join(':') }
  const lines = (await succeed('ldd', [executable], { env })).split('\n')
  return lines.flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? [])
}

async function put(source: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true })
  await copyFile(source, target)
  const { atime, mtime } = await stat(source)
  await utimes(target, atime, mtime)
}
