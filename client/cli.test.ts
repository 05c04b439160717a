/** The verbs as they are typed, against our own registry. */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { accessOf, addUser } from '../server/testing/access.ts'
import { type ServedApp, serveApp } from '../server/testing/served-app.ts'
import { digestOf } from '../storage/model/digest.ts'
import { runClientCli } from './cli.ts'
import { layerOf } from './testing/image-pages.ts'

interface Said {
  readonly code: number
  readonly out: string
  readonly notes: string
}

async function gantry(...argv: readonly string[]): Promise<Said> {
  const [out, notes]: [string[], string[]] = [[], []]
  const code = await runClientCli(argv, { line: (text) => void out.push(text), note: (text) => void notes.push(text) })
  return { code, out: out.join('\n'), notes: notes.join('\n') }
}

describe('the command gantry', () => {
  let app: ServedApp
  let host: string
  let folder: string
  const kept = { DOCKER_CONFIG: process.env['DOCKER_CONFIG'], XDG_STATE_HOME: process.env['XDG_STATE_HOME'] }
  before(async () => {
    app = await serveApp({ access: accessOf() })
    await addUser(app.accounts, 'ada', 'lovelace')
    host = new URL(app.url).host
    folder = await mkdtemp(join(tmpdir(), 'gantry-cli-'))
    process.env['DOCKER_CONFIG'] = folder
    process.env['XDG_STATE_HOME'] = join(folder, 'state')
  })
  after(async () => {
    for (const [name, value] of Object.entries(kept))
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    await app[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })

  it('says how to log in to who has not, and lets in who has, until he logs out', async () => {
    const stranger = await gantry('tags', host)
    assert.equal(stranger.code, 1)
    assert.match(stranger.notes, new RegExp(`Log in with \`gantry login ${host}\``))
    const wrong = await gantry('login', '-u', 'ada', '-p', 'byron', host)
    assert.deepEqual([wrong.code, wrong.out], [1, ''])
    assert.match(wrong.notes, /does not accept this user and password/)
    const right = await gantry('login', '-u', 'ada', '-p', 'lovelace', host)
    assert.deepEqual([right.code, right.out], [0, 'Login Succeeded'])
    assert.equal((await gantry('tags', host)).code, 0)
    assert.equal((await gantry('logout', host)).code, 0)
    assert.equal((await gantry('tags', host)).code, 1)
  })
  const FAMILY = [
    'pull',
    'images',
    'rmi',
    'tag',
    'inspect',
    'history',
    'save',
    'load',
    'import',
    'image',
    'run',
    'version',
  ]
  const REMOTE = ['push', 'copy', 'login', 'logout', 'tags', 'delete', 'sync', 'manifest', 'artifact']
  it('has help with examples for each of its verbs, and loads no other verbs for it', async () => {
    const { out } = await gantry('--help')
    const verbs = [...out.matchAll(/^ {2}([a-z]+)(?:\|\S+)? .*$/gm)].map(([, name = '']) => name)
    assert.ok(verbs.length > 10, out)
    for (const verb of [...FAMILY, ...REMOTE]) {
      assert.ok(verbs.includes(verb), verb)
      const help = await gantry(verb, '--help')
      assert.equal(help.code, 0)
      assert.match(help.out, /^Usage: gantry /)
    }
  })

  it('makes an image of a tar, names it, shows it, saves it, loads it, pushes it, and prunes', async () => {
    await gantry('login', '-u', 'ada', '-p', 'lovelace', host)
    const root = join(folder, 'store')
    const ours = (...argv: readonly string[]) => succeeding('--root', root, ...argv)
    const tar = join(folder, 'rootfs.tar.gz')
    await writeFile(tar, gzipSync(await layerOf({ 'etc/motd': 'hello\n' })))
    const name = `${host}/team/base:1`
    const changes = ['-c', 'CMD ["/bin/sh", "-l"]', '-c', 'ENV A=b', '-c', 'LABEL of="us"', '-m', 'from a tar']
    const [made] = JSON.parse(await ours('import', '--json', ...changes, tar, name)) as { id: string; digest: string }[]
    assert.match(made?.digest ?? '', /^sha256:/)
    assert.equal((await ours('import', '--quiet', tar, `${host}/team/other:1`)) === made?.id, false)

    await ours('tag', name, `${host}/team/base:2`)
    await ours('rmi', `${host}/team/other:1`)
    const listed = JSON.parse(await ours('images', '--json')) as { name: string }[]
    assert.deepEqual(
      listed.map((each) => each.name),
      [name, `${host}/team/base:2`],
    )
    assert.equal(await ours('image', 'ls', '-q', `${host}/team/base`), await ours('images', '-q'))
    assert.equal(await ours('images', '-q', `${host}/team/none`), '')
    assert.equal(await ours('images', '-q', `${host}/team/*`), await ours('images', '-q'))
    assert.equal(await ours('images', '-q', '--filter', `before=${name}`), '')
    assert.equal(await ours('images', '-q', '--filter', `since=${name}`), '')
    assert.equal(await ours('image', 'inspect', name), await ours('inspect', '--type', 'image', name))
    assert.equal(await ours('container', 'ls', '-aq'), '')
    const { id = '', digest } = made ?? {}
    for (const each of [name, id, id.slice(7, 19)]) {
      const seen = (template: string) => ours('image', 'inspect', '-f', template, each)
      assert.equal(await seen('{{.Id}} {{.Os}} {{.RootFS.Type}} {{len .RootFS.Layers}}'), `${id} linux layers 1`)
      assert.equal(await seen('{{.RepoTags}}'), `[${name} ${host}/team/base:2]`)
      assert.equal(await seen('{{index .RepoDigests 0}}'), `${host}/team/base@${digest}`)
      assert.equal(await seen('{{json .Config.Cmd}} {{index .Config.Labels "of"}}'), '["/bin/sh","-l"] us')
      const absent = '{{.Config.Entrypoint}} {{.Config.Volumes}} {{.Config.ExposedPorts}} {{json .Config.Entrypoint}}'
      assert.equal(await seen(absent), '[] map[] map[] null')
      assert.match(await ours('history', each), /from a tar/)
      assert.equal(await ours('history', '--format', '{{.ID}} {{.Comment}}', each), `${id.slice(7, 19)} from a tar`)
    }
    const [shown] = JSON.parse(await ours('inspect', id.slice(7, 19))) as Record<string, unknown>[]
    assert.deepEqual([shown?.['Id'], shown?.['Digest']], [id, digest])
    assert.deepEqual(Object.keys(shown?.['Config'] ?? {}).includes('ExposedPorts'), false)
    const unknown = await gantry('--root', root, 'image', 'inspect', '0123456789ab')
    assert.match(unknown.notes, /no image of the id 0123456789ab is here; `gantry images` lists them/)
    assert.equal((await gantry('--root', root, 'inspect', '0123456789ab')).code, 1)

    await ours('save', '-q', '-o', join(folder, 'by-id.tar'), id.slice(7, 19))
    const byId = await succeeding('--root', join(folder, 'of-id'), 'load', '-q', '-i', join(folder, 'by-id.tar'))
    assert.equal(byId, `Loaded image: ${name}`)

    for (const format of ['docker-archive', 'oci-archive']) {
      const file = join(folder, `${format}.tar`)
      await ours('save', '--quiet', '--format', format, '-o', file, name, `${host}/team/base:2`)
      const loaded = await succeeding('--root', join(folder, `of-${format}`), 'load', '-i', file)
      assert.deepEqual(loaded.split('\n').toSorted(), [`Loaded image: ${name}`, `Loaded image: ${host}/team/base:2`])
      const [again] = JSON.parse(await succeeding('--root', join(folder, `of-${format}`), 'images', '--json')) as {
        id: string
      }[]
      assert.equal(again?.id, made?.id)
    }

    const pushed = JSON.parse(await ours('push', '--quiet', '--json', name)) as { digest: string; blobs: object }
    assert.deepEqual([pushed.digest, pushed.blobs], [made?.digest, { present: 0, mounted: 0, sent: 2 }])
    assert.equal(await ours('push', '--quiet', name, `${host}/team/base:3`), made?.digest)
    assert.equal(await ours('tags', `${host}/team/base`), '1\n3')
    assert.equal(
      await ours('search-tags', '--json', `${host}/team/base`),
      JSON.stringify({ repository: `${host}/team/base`, tags: ['1', '3'] }),
    )

    const pruned = JSON.parse(await ours('image', 'prune', '--all', '--json')) as {
      untagged: string[]
      freedBytes: number
    }
    assert.deepEqual(pruned.untagged, [name, `${host}/team/base:2`])
    assert.ok(pruned.freedBytes > 0)
    assert.equal(await ours('images', '--json'), '[]')
  })

  it('puts indexes together, syncs repositories and deletes', async () => {
    await gantry('login', '-u', 'ada', '-p', 'lovelace', host)
    const root = join(folder, 'store')
    const tar = join(folder, 'arch.tar')
    await writeFile(tar, await layerOf({ file: 'x' }))
    for (const arch of ['amd64', 'arm64']) {
      const image = `${host}/parts/${arch}:1`
      await succeeding('--root', root, 'import', '--platform', `linux/${arch}`, tar, image)
      await succeeding('--root', root, 'push', '--quiet', image)
    }
    const index = `${host}/whole/app:1`
    await succeeding('manifest', 'create', index, `${host}/parts/amd64:1`, `${host}/parts/arm64:1`)
    await succeeding('manifest', 'annotate', '--variant', 'v8', '--annotation', 'a=b', index, `${host}/parts/arm64:1`)
    const [, digest] = (await succeeding('manifest', 'push', index)).split('\n')
    const raw = await succeeding('manifest', 'inspect', '--raw', index)
    assert.equal(digestOf(Buffer.from(raw)), digest)
    const { manifests } = JSON.parse(raw) as { manifests: { platform: object; annotations?: object }[] }
    assert.deepEqual(
      manifests.map(({ platform, annotations }) => [platform, annotations]),
      [
        [{ os: 'linux', architecture: 'amd64' }, undefined],
        [{ os: 'linux', architecture: 'arm64', variant: 'v8' }, { a: 'b' }],
      ],
    )
    const gone = await gantry('manifest', 'push', index)
    assert.match(gone.notes, /no index .* in the making; begin it with `gantry manifest create/)

    assert.equal(await succeeding('sync', `${host}/whole/app`, `${host}/mirror/app`), '+ whole/app:1')
    assert.equal(await succeeding('sync', `${host}/whole/app`, `${host}/mirror/app`), '= whole/app:1')
    for (const outcome of ['+', '=']) {
      const below = (await succeeding('sync', '--quiet', '--json', host, `${host}/below`)).trim()
      const { tags } = JSON.parse(below) as { tags: { repository: string; outcome: string }[] }
      assert.ok(tags.length >= 4 && tags.every(({ repository }) => !repository.startsWith('below/')))
      assert.ok(tags.every((each) => each.outcome === (outcome === '+' ? 'copied' : 'same')))
    }
    const all = JSON.parse(await succeeding('sync', '--json', host, `oci:${folder}/mirror`)) as {
      copied: number
      failed: number
    }
    assert.ok(all.copied >= 4 && all.failed === 0)
    assert.ok((await readdir(join(folder, 'mirror/whole/app'))).includes('index.json'))

    assert.equal(await succeeding('delete', `${host}/mirror/app:1`), `Deleted: ${host}/mirror/app:1`)
    const twice = await gantry('delete', `${host}/mirror/app:1`)
    assert.equal(twice.code, 1)
    assert.match(twice.notes, /has no tag "1"/)
    assert.equal(await succeeding('delete', `${host}/mirror/app@${digest}`), `Deleted: ${host}/mirror/app@${digest}`)
  })

  it('pushes artifacts, attaches them, finds them, and writes their files', async () => {
    await gantry('login', '-u', 'ada', '-p', 'lovelace', host)
    const [note, out] = [join(folder, 'note.txt'), await mkdtemp(join(folder, 'out-'))]
    await writeFile(note, 'hello')
    await writeFile(join(folder, 'empty'), '')
    const thing = `${host}/things/one:1`
    const type = ['--artifact-type', 'application/vnd.example.thing']
    const digest = await succeeding(
      'artifact',
      'push',
      '-q',
      ...type,
      thing,
      `${note}:text/plain`,
      join(folder, 'empty'),
    )
    const attached = await succeeding(
      'artifact',
      'attach',
      '-q',
      '--artifact-type',
      'application/vnd.example.note',
      '--annotation',
      'by=us',
      thing,
      note,
    )
    assert.equal(await succeeding('artifact', 'pull', '-o', out, thing), 'note.txt\nempty')
    assert.equal(await readFile(join(out, 'note.txt'), 'utf8'), 'hello')
    const { subject, referrers } = JSON.parse(await succeeding('artifact', 'discover', '--json', thing)) as {
      subject: string
      referrers: { digest: string; artifactType: string; annotations: Record<string, string> }[]
    }
    assert.deepEqual(
      [subject, referrers.map((each) => each.digest), referrers[0]?.annotations['by']],
      [digest, [attached], 'us'],
    )
    assert.match(await succeeding('artifact', 'discover', thing), /vnd\.example\.note/)
    const none = await succeeding('artifact', 'discover', '--artifact-type', 'application/other', '--json', thing)
    assert.deepEqual((JSON.parse(none) as { referrers: unknown[] }).referrers, [])
  })
})

async function succeeding(...argv: readonly string[]): Promise<string> {
  const { code, out, notes } = await gantry(...argv)
  assert.equal(code, 0, `gantry ${argv.join(' ')}: ${notes}`)
  return out
}
