/** Tests of the runtime, run by Node in a virtual machine with Debian's kernel, where cgroups are of version 2 alone. */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { buildPayload } from '../../native/testing/bundle.ts'
import { cloudKernel } from '../support/cloud-kernel.ts'
import { missing } from '../support/needs.ts'
import { boot, librariesOf } from '../support/virtual-machine.ts'
import { Workspace } from '../support/workspace.ts'
import { MARK, type MachineTest } from './machine-report.ts'

const CLONE = fileURLToPath(new URL('../..', import.meta.url))
const HERE = fileURLToPath(new URL('.', import.meta.url))
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

/** Why there can be no such machine here. */
export const noMachine = await missing('qemu-system-x86_64', 'busybox', 'dpkg', 'apt-get')

export interface MachineSetUp {
  /** Names of native/NAME.system.test.ts. */
  readonly tests: readonly string[]
  /** Besides Node and ps: they are in /bin there, with their libraries where they are here. */
  readonly programs?: readonly string[]
  /** By their path in the machine. */
  readonly files?: ReadonlyMap<string, string>
}

/** Each test of theirs becomes one of `t`; one that is skipped there is skipped. */
export async function passInMachine(t: TestContext, setUp: MachineSetUp): Promise<void> {
  await using workspace = await Workspace.open()
  await buildPayload()
  const kernel = await cloudKernel()
  const names = [...SUPPORT, ...setUp.tests.map((name) => `native/${name}.system.test.ts`)]
  const programs = [process.execPath, '/bin/ps', ...(setUp.programs ?? [])]
  const libraries = await Promise.all(programs.map((path) => librariesOf(path)))
  const files = new Map([
    ...programs.map((path) => [`/bin/${basename(path)}`, path] as const),
    ...libraries.flatMap((paths) => paths.map((path) => [path, path] as const)),
    ...names.map((name) => [`/gantry/${name}`, `${CLONE}${name}`] as const),
    ...MODULES.map((name) => [`/modules/${name}.ko`, kernel.module(name)] as const),
    ['/machine.tests.sh', join(HERE, 'machine.tests.sh')] as const,
    ...(setUp.files ?? []),
  ])
  const init = await readFile(join(HERE, 'machine.init.sh'), 'utf8')
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
  assert.deepEqual([...ran].sort(), setUp.tests.map((name) => `${name}.system.test.ts`).sort(), said)
  assert.match(said, /init: tests ended with 0/)
}

/** Everything below a folder, by its path from there. */
export async function filesBelow(
  folder: string,
  wanted = (_path: string): boolean => true,
): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name))
  return new Map(paths.map((path) => [path.slice(folder.length), path] as const).filter(([path]) => wanted(path)))
}
