/**
 * The runtime where cgroups are of version 2 alone, as on most hosts and not on those of older or mixed set-up: its own
 * tests, run by Node in a virtual machine with Debian's kernel.
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { buildPayload } from '../../native/testing/bundle.ts'
import { cloudKernel } from '../support/cloud-kernel.ts'
import { debianPackage } from '../support/debian-package.ts'
import { missing } from '../support/needs.ts'
import { boot, librariesOf } from '../support/virtual-machine.ts'
import { Workspace } from '../support/workspace.ts'
import { MARK, type MachineTest } from './machine-report.ts'

const CLONE = fileURLToPath(new URL('../..', import.meta.url))
/** Those that look at what depends on the kernel: cgroups, security modules, file systems, the scheduler. */
const TESTS = ['overlay', 'runtime-attributes', 'runtime-cgroup-v2', 'runtime-verbs']
const SUPPORT = [
  'package.json',
  'conformance/runtime/machine-report.ts',
  ...[
    'native/addon.ts',
    'native/overlay.ts',
    'native/process-streams.ts',
    'native/runtime.ts',
    'native/terminal.ts',
    'native/testing/bundle.ts',
    'native/testing/cli.ts',
    'native/testing/command-line.ts',
    'native/testing/faces.ts',
    'native/testing/user-namespace.ts',
  ],
  ...['native/testing/init.cc', 'native/build/test-init', 'native/build/gantry-runtime', 'native/build/gantry.node'],
]
const MODULES = ['overlay', 'brd']
const skip = await missing('qemu-system-x86_64', 'busybox', 'dpkg', 'apt-get')

describe('gantry-runtime on a machine with cgroup version 2 alone', { skip }, () => {
  it('passes its tests', async (t) => {
    await using workspace = await Workspace.open()
    await buildPayload()
    const kernel = await cloudKernel()
    const names = [...SUPPORT, ...TESTS.map((name) => `native/${name}.system.test.ts`)]
    const parser = join(await debianPackage('apparmor'), 'sbin/apparmor_parser')
    const programs = [process.execPath, '/bin/ps', parser]
    const libraries = await Promise.all(programs.map(librariesOf))
    const files = new Map([
      ...programs.map((path) => [`/bin/${basename(path)}`, path] as const),
      ...libraries.flatMap((paths) => paths.map((path) => [path, path] as const)),
      ...names.map((name) => [`/gantry/${name}`, `${CLONE}${name}`] as const),
      ...MODULES.map((name) => [`/modules/${name}.ko`, kernel.module(name)] as const),
    ])
    const init = await readFile(new URL('cgroup-v2.init.sh', import.meta.url), 'utf8')
    const said = await boot({ kernel, files, init, directory: workspace.directory })

    const lines = said.split(/\r?\n/).flatMap((line) => line.split(MARK)[1] ?? [])
    const tests = lines.map((line) => JSON.parse(line) as MachineTest)
    for (const { name, file, nesting, passed, skip, error } of tests) {
      if (nesting === 0 && passed) continue // a suite
      const reason = typeof skip === 'string' ? skip : skip === true
      await t.test(`${name} (${basename(file)})`, { skip: reason }, () => assert.ok(passed, error))
    }
    const ran = new Set(
      tests.filter(({ nesting, skip }) => nesting > 0 && skip === undefined).map(({ file }) => basename(file)),
    )
    assert.deepEqual([...ran].sort(), TESTS.map((name) => `${name}.system.test.ts`).sort(), said)
    assert.match(said, /init: tests ended with 0/)
  })
})
