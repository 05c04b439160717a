/**
 * Attacks that somebody has published on clients, each performed for real by an image and its container on the command itself; and each shown to be
 * one: on a path that is followed as those clients did, or in the place where they ran what the image brought, it succeeds.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import tar from 'tar-stream'
import { run } from '../../conformance/support/commands.ts'
import { missing } from '../../conformance/support/needs.ts'
import { buildPayload } from '../../native/testing/bundle.ts'
import { busyboxLayer, pullMade } from '../testing/busybox-image.ts'

const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))
const skip = await missing('busybox', 'gcc')
const SECRET = 'a secret of the host'
/** What clients have run, or might run, to read an archive. */
const DECOMPRESSORS = ['gzip', 'gunzip', 'zcat', 'unpigz', 'pigz', 'xz', 'unxz', 'zstd', 'unzstd', 'bzip2', 'tar']
const MARK_OF_A_PROGRAM = '/ran-a-program-of-the-image'

describe('an image and its container', { skip }, () => {
  let root: string
  let scratch: string
  /** A folder of the host, with a secret. */
  let host: string
  let image: string
  let id: string
  const gantry = (...words: readonly string[]) => run(process.execPath, [COMMAND, '--root', root, ...words])
  const says = async (...words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await gantry(...words)
    assert.equal(code, 0, `${words.join(' ')}: ${stdout}${stderr}`)
    return stdout.trimEnd()
  }
  /** As a client sees it that follows its paths. */
  const naive = async (path: string): Promise<string> => {
    const pid = await says('inspect', '-f', '{{.State.Pid}}', id)
    return await readFile(`/proc/${pid}/root${path}`, 'utf8').catch(() => '')
  }

  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-attacks-'))
    scratch = await mkdtemp(join(tmpdir(), 'gantry-scratch-'))
    host = await mkdtemp(join(tmpdir(), 'gantry-host-'))
    await writeFile(join(host, 'secret'), SECRET)
    const library = await maliciousLibrary()
    const pack = tar.pack()
    const link = (name: string, linkname: string) => pack.entry({ name, type: 'symlink', linkname })
    link('leak', host)
    link('below/leak', `../../../../../..${host}`)
    link('control', host)
    for (const name of DECOMPRESSORS)
      pack.entry({ name: `bin/${name}`, mode: 0o755 }, `#!/bin/sh\necho > ${MARK_OF_A_PROGRAM}\ncat\n`)
    for (const name of ['libnss_files.so.2', 'libnss_compat.so.2', 'libnss_dns.so.2', 'libc.so.6', 'libm.so.6'])
      for (const folder of ['lib', 'lib/x86_64-linux-gnu', 'lib64', 'usr/lib'])
        pack.entry({ name: `${folder}/${name}`, mode: 0o755 }, library)
    pack.entry({ name: 'lib/evil.so', mode: 0o755 }, library)
    pack.entry({ name: 'etc/ld.so.preload' }, '/lib/evil.so\n')
    pack.entry({ name: 'etc/nsswitch.conf' }, 'passwd: files\ngroup: files\n')
    pack.finalize()
    const chunks: Buffer[] = []
    for await (const chunk of pack) chunks.push(chunk as Buffer)
    const volumes = { '/leak': {}, '/below/leak': {}, [`/x/../../../../../..${host}`]: {} }
    const config = { Cmd: ['sleep', '600'], Env: ['PATH=/bin'], Volumes: volumes }
    image = await pullMade(root, [await busyboxLayer(), Buffer.concat(chunks)], config)
    id = await says('run', '-d', '-v', 'race:/race', image)
  })
  after(async () => {
    await gantry('rm', '-fv', id)
    for (const folder of [root, scratch, host]) await rm(folder, { recursive: true, force: true })
  })

  /** Says that it was loaded, wherever that is. */
  async function maliciousLibrary(): Promise<Buffer> {
    const [source, library] = [join(scratch, 'evil.c'), join(scratch, 'evil.so')]
    const mark = join(host, 'loaded-a-library-of-the-image')
    const body = `fclose(fopen("${mark}", "w"));`
    await writeFile(source, `#include <stdio.h>\n__attribute__((constructor)) static void said(void) { ${body} }\n`)
    execFileSync('gcc', ['-shared', '-fPIC', '-o', library, source])
    return await readFile(library)
  }

  it('has volumes that begin with nothing of the host, wherever their paths lead (CVE-2022-23648)', async () => {
    assert.equal(await naive('/control/secret'), SECRET)
    const filled = await readdir(join(root, 'volumes'), { recursive: true })
    assert.equal(filled.filter((name) => name.endsWith('_data')).length, 4)
    assert.deepEqual(
      filled.filter((name) => name.endsWith('secret')),
      [],
    )
    const shown = await says('exec', id, 'sh', '-c', `cat /leak/* /below/leak/* ${host}/* 2>/dev/null; true`)
    assert.equal(shown, '')
  })

  it('swaps a folder and a link while cp is on its way: nothing of the host goes in or out (CVE-2018-15664)', async () => {
    const volume = join(root, 'volumes/race/_data')
    await says('exec', id, 'sh', '-c', `mkdir /race/way; echo inner > /race/way/secret; ln -s ${host} /race/other`)
    const names = ['way', 'other'].map((name) => join(volume, name))
    const racer = spawn(await buildPayload(), ['exchange', ...names], { stdio: 'ignore', timeout: 120_000 })
    try {
      let followed = ''
      for (let i = 0; i < 500 && followed !== SECRET; ++i) followed = await naive('/race/way/secret')
      assert.equal(followed, SECRET, 'the race is lost by who follows paths')
      const [taken, brought] = [join(scratch, 'taken'), join(scratch, 'brought')]
      await writeFile(brought, 'of the container')
      let [out, in_] = [0, 0]
      for (let i = 0; i < 12; ++i) {
        await rm(taken, { force: true })
        if ((await gantry('cp', `${id}:/race/way/secret`, taken)).code === 0) {
          out += 1
          assert.match(await readFile(taken, 'utf8'), /^(inner\n|of the container)$/)
        }
        if ((await gantry('cp', brought, `${id}:/race/way/secret`)).code === 0) in_ += 1
        assert.equal(await readFile(join(host, 'secret'), 'utf8'), SECRET)
      }
      assert.ok(out > 0 && in_ > 0, `${out} copied out, ${in_} copied in: the way was never a folder`)
    } finally {
      racer.kill('SIGKILL')
    }
    assert.deepEqual(await readdir(host), ['secret'])
  })

  it('brings libraries that a C library would load: cp loads none of them (CVE-2019-14271)', async () => {
    const mark = join(host, 'loaded-a-library-of-the-image')
    execFileSync('/bin/true', { env: { LD_PRELOAD: join(scratch, 'evil.so') } })
    assert.ok(existsSync(mark), 'the library says when it is loaded')
    await rm(mark)
    await says('cp', `${id}:/etc/passwd`, join(scratch, 'passwd'))
    await says('cp', '-a', join(scratch, 'passwd'), `${id}:/tmp/passwd`)
    await says('cp', `${id}:/etc/.`, join(scratch, 'etc'))
    assert.ok(!existsSync(mark), 'loaded outside')
    assert.equal((await gantry('exec', id, 'test', '-e', mark)).code, 1, 'loaded inside')
  })

  it('brings programs that decompress: what cp brings in is read by none of them (CVE-2026-41567)', async () => {
    const ran = async (): Promise<boolean> => (await gantry('exec', id, 'test', '-e', MARK_OF_A_PROGRAM)).code === 0
    await writeFile(join(scratch, 'file'), 'packed')
    for (const [name, flag] of [
      ['gzip', '-z'],
      ['xz', '-J'],
    ] as const) {
      const archive = join(scratch, `archive.${name}`)
      execFileSync('tar', ['-c', flag, '-f', archive, '-C', scratch, 'file'])
      const words = `exec "$0" "$1" --root ${root} cp - ${id}:/tmp < ${archive}`
      const { code, stderr } = await run('sh', ['-c', words, process.execPath, COMMAND])
      if (name === 'gzip') assert.equal(code, 0, stderr)
      assert.ok(!(await ran()), name)
    }
    assert.equal(await says('exec', id, 'cat', '/tmp/file'), 'packed')
    await says('exec', id, 'gzip', '-c', '/dev/null')
    assert.ok(await ran(), 'the program says when it is run')
  })
})
