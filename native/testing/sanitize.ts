/**
 * Tests of the native code with the addon and the runtime built for AddressSanitizer and UndefinedBehaviorSanitizer, in a copy
 * of the checkout, so that what is tested otherwise stays as it is. Node gets the sanitizers' library before anything else.
 * Needs clang and its sanitizers.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const checkout = fileURLToPath(new URL('../..', import.meta.url))
const native = join(checkout, 'native')
const TESTS = [
  ...['cached-file', 'durable-file', 'file-reception', 'file-transfer', 'hash', 'hostile-archives', 'layer-unpack'],
  ...['range-lock', 'seccomp', 'socket-relay', 'tar'],
].map((name) => `native/${name}.test.ts`)
const CONTAINER_TESTS = ['runtime-cli', 'runtime-exec', 'runtime-verbs', 'seccomp'].map(
  (name) => `native/${name}.system.test.ts`,
)
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
answer('make', ['-j2', '--no-print-directory', 'build/sanitized/gantry.node', 'build/sanitized/gantry-runtime'])
const machine = answer('uname', ['-m'])
const library = answer(clang, [`-print-file-name=libclang_rt.asan-${machine}.so`])

const folder = await mkdtemp(join(tmpdir(), 'gantry-sanitize-'))
try {
  for (const name of ['native', 'client', 'server', 'storage']) {
    const filter = (path: string): boolean => !path.startsWith(join(native, 'build'))
    await cp(join(checkout, name), join(folder, name), { recursive: true, filter })
  }
  for (const name of ['package.json', 'node_modules']) await symlink(join(checkout, name), join(folder, name))
  const build = join(folder, 'native/build')
  await mkdir(build)
  for (const name of ['gantry.node', 'gantry-runtime'])
    await cp(join(native, 'build/sanitized', name), join(build, name))
  // Node itself leaves much to its end, and a process that nobody may look into cannot be searched for leaks.
  const env = {
    ...process.env,
    LD_PRELOAD: library,
    ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:handle_segv=0',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  }
  const containers = process.getuid?.() === 0 ? CONTAINER_TESTS : []
  const skipped = '--test-skip-pattern=runtime’s own executable' // as the program of a container it finds no library
  const words = ['--test', skipped, '--test-concurrency=2', `--test-timeout=${TIMEOUT_MS}`, ...TESTS, ...containers]
  const child = spawn(process.execPath, words, { cwd: folder, env, stdio: 'inherit' })
  const [code] = (await once(child, 'close')) as [number | null]
  process.exitCode = code ?? 1
} finally {
  await rm(folder, { recursive: true, force: true })
}
