/**
 * Tests of the native code with the addon and the runtime built for AddressSanitizer and UndefinedBehaviorSanitizer, and of the
 * addon built for ThreadSanitizer, in copies of the checkout, so that what is tested otherwise stays as it is. Node gets a
 * sanitizer's library before anything else. Needs clang and its sanitizers.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const checkout = fileURLToPath(new URL('../..', import.meta.url))
const native = join(checkout, 'native')
const THREADED_TESTS = [
  ...[
    'cached-file',
    'durable-file',
    'file-reception',
    'file-transfer',
    'hash',
    'layer-unpack',
    'layer-unpack-lower',
    'range-lock',
  ],
  ...['layer-pack', 'socket-relay', 'tree-copy'],
]
const TESTS = [...THREADED_TESTS, 'hostile-archives', 'seccomp', 'tar']
const CONTAINER_TESTS = ['runtime-cli', 'runtime-exec', 'runtime-verbs', 'seccomp'].map((name) => `${name}.system`)
const TIMEOUT_MS = 120_000

function answer(command: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: native, encoding: 'utf8' })
  if (status === 0) return stdout.trim()
  process.stderr.write(
    `${stdout}${stderr}\nsanitize: clang-19 and libclang-rt-19-dev are needed (CLANGXX=… for another)\n`,
  )
  process.exit(1)
}

const clang = process.env['CLANGXX'] ?? 'clang++-19'
const machine = answer('uname', ['-m'])

interface Build {
  /** Its folder in native/build/, and what of it takes the place of what is built otherwise. */
  readonly folder: string
  readonly files: readonly string[]
  readonly sanitizer: 'asan' | 'tsan'
  readonly env: NodeJS.ProcessEnv
  readonly tests: readonly string[]
}

/** Whether its tests passed, and the sanitizer had nothing to say. */
async function passes({ folder: built, files, sanitizer, env, tests }: Build): Promise<boolean> {
  answer('make', ['-j2', '--no-print-directory', ...files.map((name) => `build/${built}/${name}`)])
  const library = answer(clang, [`-print-file-name=libclang_rt.${sanitizer}-${machine}.so`])
  const folder = await mkdtemp(join(tmpdir(), 'gantry-sanitize-'))
  try {
    for (const name of ['native', 'client', 'server', 'storage', 'conformance/support']) {
      const filter = (path: string): boolean => !path.startsWith(join(native, 'build'))
      await cp(join(checkout, name), join(folder, name), { recursive: true, filter })
    }
    for (const name of ['package.json', 'node_modules']) await symlink(join(checkout, name), join(folder, name))
    const build = join(folder, 'native/build')
    await mkdir(build)
    for (const name of files) await cp(join(native, 'build', built, name), join(build, name))
    const skipped = '--test-skip-pattern=runtime’s own executable' // as the program of a container it finds no library
    const suites = tests.map((name) => `native/${name}.test.ts`)
    const words = ['--test', skipped, '--test-concurrency=2', `--test-timeout=${TIMEOUT_MS}`, ...suites]
    const child = spawn(process.execPath, words, {
      cwd: folder,
      env: { ...process.env, LD_PRELOAD: library, ...env },
      stdio: 'inherit',
    })
    const [code] = (await once(child, 'close')) as [number | null]
    return code === 0
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const addressed = await passes({
  folder: 'sanitized',
  files: ['gantry.node', 'gantry-runtime'],
  sanitizer: 'asan',
  // Node itself leaves much to its end, and a process that nobody may look into cannot be searched for leaks.
  env: { ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:handle_segv=0', UBSAN_OPTIONS: 'print_stacktrace=1' },
  tests: [...TESTS, ...(process.getuid?.() === 0 ? CONTAINER_TESTS : [])],
})
const threaded = await passes({
  folder: 'threaded',
  files: ['gantry.node'],
  sanitizer: 'tsan',
  // Of Node's own accesses nothing is known; its locks are seen, and order what the addon does.
  env: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1:halt_on_error=1:exitcode=66' },
  tests: THREADED_TESTS,
})
process.exitCode = addressed && threaded ? 0 : 1
