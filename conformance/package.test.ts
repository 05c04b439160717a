/** The published package: what `npm pack` makes works where nobody has our sources, and an old Node gets one clear line. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { installPackage } from './support/package.ts'

const checkout = dirname(import.meta.dirname)
const { version } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')) as { version: string }

/** The machine's own Node, where it is older than ours: the first on PATH outside `node_modules`. */
function oldNode(): string | undefined {
  const candidates = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'))
  for (const folder of [...candidates, '/usr/bin', '/usr/local/bin']) {
    const { stdout } = spawnSync(join(folder, 'node'), ['-p', 'process.versions.node'], { encoding: 'utf8' })
    if (stdout && Number.parseInt(stdout, 10) < 24) return join(folder, 'node')
  }
  return undefined
}

const COMPILER = {
  module: 'nodenext',
  target: 'es2024',
  lib: ['es2024', 'esnext.disposable', 'dom'],
  strict: true,
  noEmit: true,
  types: ['node'],
  skipLibCheck: false,
}

describe('the npm package', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-package-'))
  const installed = join(folder, 'node_modules', 'gantry')
  const launcher = join(installed, 'client', 'gantry.mjs')

  before(() => {
    installPackage(folder)
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  it('prints its version', () => {
    const output = execFileSync(process.execPath, [launcher, '--version'], { encoding: 'utf8' })
    assert.match(output, new RegExp(version.replaceAll('.', '\\.')))
  })

  it('brings the client, the server and the runtime', () => {
    assert.match(
      execFileSync(process.execPath, [launcher, 'pull', '--help'], { encoding: 'utf8' }),
      /Usage: gantry pull/,
    )
    assert.match(
      execFileSync(process.execPath, [launcher, 'serve', '--help'], { encoding: 'utf8' }),
      /Usage: gantry serve/,
    )
    assert.match(
      execFileSync(join(installed, 'dist/native/build/gantry-runtime'), ['--version'], { encoding: 'utf8' }),
      /^gantry-runtime version/,
    )
  })

  it('is one command, which npm links to: what it does not answer by itself it has Node do', () => {
    const link = join(folder, 'gantry')
    const { bin } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { bin: { gantry: string } }
    symlinkSync(join(installed, bin.gantry), link)
    const env = { PATH: dirname(process.execPath), GANTRY_ROOT: join(folder, 'another-store') }
    const said = (...words: readonly string[]) => execFileSync(link, words, { encoding: 'utf8', env })
    assert.equal(said('--version'), `gantry version ${version}\n`)
    assert.match(said('version'), /^gantry +\d.*\nruntime +\d.*\nnode +\d/)
    assert.match(said('serve', '--help'), /Usage: gantry serve/)
    const [first, second] = [said('ps', '-a'), said('ps', '-a')] // Node makes the store
    assert.match(first, /^CONTAINER ID /)
    assert.equal(second, first)
  })

  it('runs every verb of the client from what was linked for it, and finds what lies beside the modules', () => {
    const said = (...words: readonly string[]) =>
      spawnSync(process.execPath, [launcher, ...words], {
        encoding: 'utf8',
        env: { ...process.env, GANTRY_ROOT: join(folder, 'store') },
      })
    const { stdout } = said('--help')
    const verbs = [...stdout.matchAll(/^ {2}([a-z][a-z-]+)\b/gm)]
      .map(([, verb = '']) => verb)
      .filter((verb) => verb !== 'help')
    assert.ok(verbs.length > 40)
    for (const verb of verbs) {
      const help = said(verb, '--help')
      assert.match(help.stdout, new RegExp(`^Usage: gantry ${verb}\\b`), `${verb}: ${help.stderr}`)
    }
    assert.match(said('version').stdout, /^gantry +\d.*\nruntime +\d.*\nnode +\d/)
    assert.equal(said('ps', '-q').stdout, '')
    assert.match(said('info').stdout, new RegExp(version.replaceAll('.', '\\.')))
    const missing = said('inspect', 'localhost:1/none')
    assert.match(missing.stderr, /gantry: /)
    assert.doesNotMatch(missing.stderr, /Cannot find|MODULE/)
  })

  it('keeps what V8 has made of a verb, and believes no byte of it that has changed', () => {
    const cache = join(folder, 'cache')
    const code = join(cache, 'gantry/code')
    const kept = join(code, 'commands-first.ps')
    const said = (...words: readonly string[]) =>
      spawnSync(process.execPath, [launcher, ...words], {
        encoding: 'utf8',
        env: { ...process.env, GANTRY_ROOT: join(folder, 'store'), XDG_CACHE_HOME: cache },
      })
    const first = said('--root', join(folder, 'store'), 'ps', '-a')
    const bytes = readFileSync(kept)
    const made = statSync(kept).ino
    assert.equal(said('images').status, 0)
    assert.notEqual(said('imagse').status, 0)
    assert.equal(said('ps', '-a').stdout, first.stdout)
    assert.equal(statSync(kept).ino, made)
    const ofMore = readdirSync(code).filter((name) => name.startsWith('commands-first'))
    assert.deepEqual(ofMore.toSorted(), ['commands-first.images', 'commands-first.ps'])
    for (const damaged of [
      Buffer.alloc(0),
      bytes.subarray(0, bytes.length / 2),
      Buffer.from(bytes).fill(0, 2000, 40_000),
    ]) {
      writeFileSync(kept, damaged)
      const { status, stdout, stderr } = said('ps', '-a')
      assert.deepEqual([status, stdout, stderr], [0, first.stdout, ''])
      assert.ok(readFileSync(kept).length > bytes.length / 2 && !readFileSync(kept).equals(damaged))
    }
  })

  it('is a library, with types: README’s examples compile, and run as far as their first registry', () => {
    const readme = readFileSync(join(checkout, 'README.md'), 'utf8')
    const examples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)]
      .map(([, example = '']) => example)
      .filter((each) => each.includes("from 'gantry'"))
    const [example = ''] = examples
    assert.match(example, /Registry\.open/)
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
    for (const [i, each] of examples.entries()) writeFileSync(join(folder, `example-${i}.ts`), each)
    const config = {
      compilerOptions: { ...COMPILER, typeRoots: [join(checkout, 'node_modules/@types')] },
      files: examples.map((_, i) => `example-${i}.ts`),
    }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
    const compiled = spawnSync(join(checkout, 'node_modules/.bin/tsc'), ['-p', folder], { encoding: 'utf8' })
    assert.equal(compiled.stdout + compiled.stderr, '')
    const nowhere = example.replaceAll('localhost:5000', 'localhost:1')
    writeFileSync(join(folder, 'example.ts'), nowhere)
    const { stderr } = spawnSync(process.execPath, ['example.ts'], { cwd: folder, encoding: 'utf8' })
    assert.match(stderr, /RegistryUnreachable: cannot reach http:\/\/localhost:1/)
  })

  it('ships no sources to be stripped of types, and no tests', () => {
    const files = execFileSync(
      'find',
      [installed, '-name', '*.test.*', '-o', '-name', '*.ts', '-not', '-name', '*.d.ts'],
      { encoding: 'utf8' },
    )
    assert.equal(files, '')
  })

  const old = oldNode()
  it('says in one line that Node is too old', { skip: old ? false : 'no Node older than 24 on this machine' }, () => {
    const { status, stdout, stderr } = spawnSync(String(old), [launcher, 'version'], { encoding: 'utf8' })
    assert.equal(status, 1)
    assert.equal(stdout, '')
    assert.match(stderr, /^gantry[^\n]*Node[^\n]*\n$/)
  })
})
