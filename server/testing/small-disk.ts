/** A file system of a few megabytes, mounted by root. */
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface SmallDisk extends AsyncDisposable {
  readonly path: string
  remount(options: string): void
}

/** `options` as mount(8) takes them for a tmpfs. Unmounted and removed by disposal. */
export async function mountSmallDisk(options: string): Promise<SmallDisk> {
  const path = await mkdtemp(join(tmpdir(), 'gantry-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'gantry-test', path])
  return {
    path,
    remount: (changed) => void execFileSync('mount', ['-o', `remount,${changed}`, path]),
    async [Symbol.asyncDispose]() {
      execFileSync('umount', ['--lazy', path])
      await rm(path, { recursive: true, force: true })
    },
  }
}
