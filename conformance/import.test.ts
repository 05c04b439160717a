/** Trees that real registries wrote, with what real clients pushed, become ours: pulled and compared, tag by tag. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { appendFile, cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { contentOf, digestOf, noise, type Slug, writeLayout } from './interop/content.ts'
import { assertStored } from './interop/moves.ts'
import { closed, killGroup, run, startGroup, succeed, until } from './support/commands.ts'
import { type Distribution, startDistribution } from './support/distribution.ts'
import { LAUNCHER, startGantry } from './support/gantry-serve.ts'
import { goTool, notBuilt } from './support/go-tools.ts'
import { findAll, missing } from './support/needs.ts'
import { startS3 } from './support/s3-server.ts'
import { Workspace } from './support/workspace.ts'

const TAG = 'v1'
const TREE = 'docker/registry/v2'
/** Which client pushes what: `oras` takes along what refers to it. */
const PUSHED: Readonly<Partial<Record<Slug, 'skopeo' | 'regctl' | 'oras'>>> = {
  image: 'skopeo',
  docker: 'regctl',
  index: 'skopeo',
  nested: 'regctl',
  artifact: 'regctl',
  zstd: 'oras',
}

const skip = (await missing('skopeo', 'docker-registry')) || (await notBuilt('registry', 'regctl', 'oras', 'versitygw'))
const [packaged = 'docker-registry'] = await findAll('docker-registry')
const SOURCES = [
  { name: 'docker-registry 2.8', executable: packaged },
  { name: 'distribution v3', executable: goTool('registry') },
] as const

interface Exit {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const importTree = (source: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Exit> =>
  run(process.execPath, [LAUNCHER, 'import', 'distribution', source, ...args], { env: { ...process.env, ...env } })

async function pushEverything(host: string, workspace: Workspace): Promise<void> {
  for (const [slug, client] of Object.entries(PUSHED)) {
    const layout = workspace.path(`layout-${slug}`)
    await writeLayout(layout, await contentOf(slug as Slug), TAG)
    const image = `${host}/team/${slug}:${TAG}`
    const env = { ...process.env, HOME: workspace.path('home') }
    if (client === 'skopeo') {
      const args = [
        'copy',
        '--all',
        '--preserve-digests',
        '--dest-tls-verify=false',
        `oci:${layout}:${TAG}`,
        `docker://${image}`,
      ]
      await succeed('skopeo', args, { env })
    } else if (client === 'regctl') {
      await succeed(
        goTool('regctl'),
        ['--host', `reg=${host},tls=disabled`, 'image', 'copy', `ocidir://${layout}:${TAG}`, image],
        { env },
      )
    } else {
      await succeed(goTool('oras'), ['cp', '--from-oci-layout', '--to-plain-http', `${layout}:${TAG}`, image], { env })
      await writeFile(workspace.path('note.txt'), 'signed')
      const attach = ['attach', '--plain-http', '--artifact-type', 'application/vnd.example.note', image, 'note.txt']
      await succeed(goTool('oras'), attach, { env, cwd: workspace.directory })
    }
  }
  await pushSha512(`http://${host}`, 'team/sha512-layer')
  // A name below another one's, and a manifest that no tag names any more.
  const image = await contentOf('image')
  await pushRaw(`http://${host}`, 'team/image/below', image, TAG)
  await pushRaw(`http://${host}`, 'team/image/below', await contentOf('plain'), TAG)
}

async function pushRaw(
  url: string,
  name: string,
  content: Awaited<ReturnType<typeof contentOf>>,
  tag: string,
): Promise<void> {
  for (const [digest, bytes] of content.blobs) await pushBlob(url, name, digest, bytes)
  for (const [digest, { mediaType, bytes }] of content.manifests) {
    const reference = digest === content.root.digest ? tag : digest
    await putManifest(url, name, reference, mediaType, bytes)
  }
}

async function pushBlob(url: string, name: string, digest: string, bytes: Uint8Array): Promise<void> {
  const begun = await fetch(`${url}/v2/${name}/blobs/uploads/`, { method: 'POST' })
  const location = new URL(begun.headers.get('location') ?? '', url)
  location.searchParams.set('digest', digest)
  const headers = { 'Content-Type': 'application/octet-stream' }
  const put = await fetch(location, { method: 'PUT', body: new Uint8Array(bytes), headers })
  assert.equal(put.status, 201, await put.text())
}

async function putManifest(
  url: string,
  name: string,
  reference: string,
  mediaType: string,
  bytes: Uint8Array,
): Promise<void> {
  const headers = { 'Content-Type': mediaType }
  const put = await fetch(`${url}/v2/${name}/manifests/${reference}`, {
    method: 'PUT',
    body: new Uint8Array(bytes),
    headers,
  })
  assert.equal(put.status, 201, await put.text())
}

/** The old registry keeps the layer under its sha256, and a link from the sha512. */
async function pushSha512(url: string, name: string): Promise<void> {
  const [layer, config] = [Buffer.from('known by sha512'), Buffer.from('{}')]
  const digest = `sha512:${createHash('sha512').update(layer).digest('hex')}`
  await pushBlob(url, name, digest, layer)
  await pushBlob(url, name, digestOf(config), config)
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const bytes = JSON.stringify({
    schemaVersion: 2,
    mediaType,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf(config), size: config.length },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size: layer.length }],
  })
  await putManifest(url, name, TAG, mediaType, Buffer.from(bytes))
}

const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ')

/** Every tag of every repository, with its digest, size and type. */
async function everyTag(url: string): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {}
  const { repositories } = (await (await fetch(`${url}/v2/_catalog?n=1000`)).json()) as { repositories: string[] }
  for (const name of repositories) {
    const { tags } = (await (await fetch(`${url}/v2/${name}/tags/list`)).json()) as { tags: string[] | null }
    for (const tag of tags ?? []) {
      const { headers } = await fetch(`${url}/v2/${name}/manifests/${tag}`, {
        method: 'HEAD',
        headers: { Accept: ACCEPT },
      })
      found[`${name}:${tag}`] = ['docker-content-digest', 'content-length', 'content-type']
        .map((h) => headers.get(h))
        .join(' ')
    }
  }
  return found
}

/** As it was in the old registry, and as it was pushed, byte by byte. */
async function demandEverything(url: string, expected: Readonly<Record<string, string>>): Promise<void> {
  const found = await everyTag(url)
  assert.deepEqual(found, expected)
  assert.ok(Object.keys(found).length >= 9, Object.keys(found).join(' '))
  for (const slug of Object.keys(PUSHED)) await assertStored(url, `team/${slug}`, await contentOf(slug as Slug), [TAG])
  const untagged = await contentOf('image')
  assert.equal((await fetch(`${url}/v2/team/image/below/manifests/${untagged.root.digest}`)).status, 200)
  const sha512 = `sha512:${createHash('sha512').update('known by sha512').digest('hex')}`
  assert.equal(await (await fetch(`${url}/v2/team/sha512-layer/blobs/${sha512}`)).text(), 'known by sha512')
  const subject = (await contentOf('zstd')).root.digest
  const referrers = (await (await fetch(`${url}/v2/team/zstd/referrers/${subject}`)).json()) as {
    manifests: { artifactType: string }[]
  }
  assert.deepEqual(
    referrers.manifests.map(({ artifactType }) => artifactType),
    ['application/vnd.example.note'],
  )
}

for (const { name, executable } of SOURCES) {
  describe(`the tree of ${name}`, { skip }, () => {
    let workspace: Workspace
    let folder: string
    let expected: Readonly<Record<string, string>>
    before(async () => {
      workspace = await Workspace.open()
      folder = workspace.path('old')
      await mkdir(workspace.path('home'))
      await using old = await startDistribution(executable, folder)
      await pushEverything(old.host, workspace)
      expected = await everyTag(`http://${old.host}`)
    })
    after(() => workspace[Symbol.asyncDispose]())

    it('becomes ours, beside a registry that is running, and once more without a change', async () => {
      await using gantry = await startGantry()
      const data = ['--data', gantry.dataDirectory]
      const dry = await importTree(join(folder, 'data'), ['--dry-run', ...data])
      assert.equal(dry.code, 0, dry.stderr)
      assert.deepEqual(await everyTag(gantry.url), {})

      const first = await importTree(join(folder, 'data'), data)
      assert.equal(first.code, 0, first.stderr)
      const [tags, manifests] = [Object.keys(expected).length, /, (\d+) manifests and /.exec(dry.stdout)?.[1]]
      assert.match(
        first.stdout,
        new RegExp(`${tags} of ${tags} tags are the same, ${manifests} of ${manifests} manifests are the same`),
      )
      await demandEverything(gantry.url, expected)

      const again = await importTree(join(folder, 'data', TREE), ['--json', ...data])
      const { imported } = JSON.parse(again.stdout) as { imported: Record<string, number> }
      assert.deepEqual([imported['blobs'], imported['manifests'], imported['tags'], imported['bytes']], [0, 0, 0, 0])
    })

    it('brings the repositories that are asked for', async () => {
      await using gantry = await startGantry()
      const { code } = await importTree(join(folder, 'data'), [
        '--repo',
        'team/im*',
        '--repo',
        'team/docker',
        '--data',
        gantry.dataDirectory,
      ])
      assert.equal(code, 0)
      const names = Object.keys(await everyTag(gantry.url)).sort()
      assert.deepEqual(names, ['team/docker:v1', 'team/image/below:v1', 'team/image:v1'])
    })

    it('is brought in spite of what is broken in it, which is named', async () => {
      await using gantry = await startGantry()
      const data = workspace.path('broken')
      await cp(join(folder, 'data'), data, { recursive: true })
      const [layer = ''] = [...(await contentOf('docker')).blobs.keys()].slice(-1)
      const hex = layer.slice('sha256:'.length)
      await appendFile(join(data, TREE, 'blobs/sha256', hex.slice(0, 2), hex, 'data'), 'one byte too many')
      const [config = ''] = [...(await contentOf('nested')).blobs.keys()]
      await rm(join(data, TREE, 'blobs/sha256', config.slice(7, 9), config.slice(7), 'data'))
      await writeFile(join(data, TREE, 'repositories/team/docker/_manifests/tags/v1/current/link'), 'sha256:nonsense')
      await addSchema1(join(data, TREE), 'team/old')
      await mkdir(join(data, TREE, 'repositories/Not_A_Name/_layers'), { recursive: true })

      const { code, stdout, stderr } = await importTree(data, ['--data', gantry.dataDirectory])
      assert.equal(code, 1)
      assert.match(stderr, new RegExp(`^team/docker: blob ${layer}: .* is damaged: `, 'm'))
      assert.match(stderr, new RegExp(`^team/nested: blob ${config}: .* is missing$`, 'm'))
      assert.match(stderr, /^team\/docker: link .*tags\/v1\/current\/link: "sha256:nonsense" is not a digest/m)
      assert.match(stderr, /^team\/old: manifest sha256:\w+: docker schema 1/m)
      assert.match(stderr, /^link .*Not_A_Name\/: .* is not a repository name/m)
      assert.match(stderr, /gantry import distribution: \d+ things were left out; everything else is here\n$/)
      assert.doesNotMatch(stdout, /(\d+) of \1 blobs are the same/)
      const found = await everyTag(gantry.url)
      const { 'team/docker:v1': _, ...others } = expected
      assert.deepEqual(found, others)
      assert.equal((await fetch(`${gantry.url}/v2/team/docker/blobs/${layer}`)).status, 404)
    })

    it('goes on where it was killed, and copies nothing twice', async () => {
      await using gantry = await startGantry()
      const data = workspace.path('large')
      await cp(join(folder, 'data'), data, { recursive: true })
      await addBlobs(join(data, TREE), 'team/large', 40)
      let kills = 0
      for (let wanted = 8; ; wanted += 8) {
        const child = startGroup(
          process.execPath,
          [LAUNCHER, 'import', 'distribution', data, '--json', '--data', gantry.dataDirectory],
          {
            stdio: ['ignore', 'ignore', 'ignore'],
          },
        )
        const ended = closed(child)
        const isOver = ended.then(() => true as const)
        await Promise.race([
          isOver,
          until('some blobs', 60_000, async () => ((await blobsIn(gantry.dataDirectory)) >= wanted ? true : undefined)),
        ])
        killGroup(child, 'SIGKILL')
        if ((await ended) === 0) break
        kills += 1
      }
      assert.ok(kills > 3, `${kills} kills`)
      const { code, stdout } = await importTree(data, ['--json', '--data', gantry.dataDirectory])
      assert.equal(code, 0)
      const { imported, compared } = JSON.parse(stdout) as {
        imported: { bytes: number }
        compared: { blobs: { all: number; same: number } }
      }
      assert.equal(imported.bytes, 0)
      assert.equal(compared.blobs.same, compared.blobs.all)
      await demandEverything(gantry.url, expected)
    })

    it('leaves a tag alone that was pushed here since, and moves its own after the old registry', async () => {
      await using gantry = await startGantry()
      const data = workspace.path('moving')
      await cp(join(folder, 'data'), data, { recursive: true })
      assert.equal((await importTree(data, ['--data', gantry.dataDirectory])).code, 0)
      const [image, plain] = [await contentOf('image'), await contentOf('plain')]
      await pushRaw(gantry.url, 'team/image', plain, TAG)
      await writeFile(
        join(data, TREE, 'repositories/team/image/below/_manifests/tags/v1/current/link'),
        image.root.digest,
      )
      const { code, stderr } = await importTree(data, ['--data', gantry.dataDirectory])
      assert.equal(code, 1)
      assert.match(stderr, /^team\/image: tag v1: it was pushed here since, and is left alone/)
      await assertStored(gantry.url, 'team/image', plain, [TAG])
      await assertStored(gantry.url, 'team/image/below', image, [TAG])
    })
  })
}

describe('a tree in a bucket', { skip }, async () => {
  for (const kind of ['versitygw', 'minio'] as const) {
    it(`becomes ours in another place of it, on ${kind}`, { skip: await notBuilt(kind) }, async () => {
      await using workspace = await Workspace.open()
      await mkdir(workspace.path('home'))
      await using server = await startS3(kind)
      const env = server.env('ours')
      const s3 = {
        accesskey: env['AWS_ACCESS_KEY_ID'],
        secretkey: env['AWS_SECRET_ACCESS_KEY'],
        region: 'us-east-1',
        regionendpoint: server.endpoint,
        bucket: env['GANTRY_S3_BUCKET'],
        rootdirectory: '/old/root',
        secure: false,
        forcepathstyle: true,
      }
      let expected: Readonly<Record<string, string>>
      {
        await using old: Distribution = await startDistribution(goTool('registry'), workspace.path('old'), { s3 })
        await pushEverything(old.host, workspace)
        expected = await everyTag(`http://${old.host}`)
      }
      const source = `s3://${env['GANTRY_S3_BUCKET']}/old/root`
      const { code, stdout, stderr } = await importTree(source, ['--source-endpoint', server.endpoint], env)
      assert.equal(code, 0, stderr)
      assert.match(stdout, /(\d+) of \1 tags are the same, (\d+) of \2 manifests are the same, (\d+) of \3 blobs/)
      await using gantry = await startGantry({ env: { ...process.env, ...env } })
      await demandEverything(gantry.url, expected)
    })
  }
})

describe('a place that holds no registry', () => {
  it('is refused with what would be right', async () => {
    await using workspace = await Workspace.open()
    for (const [source, message] of [
      [workspace.directory, /holds no registry: expected docker\/registry\/v2\/repositories/],
      [workspace.path('nowhere'), /cannot read .*nowhere: .*does not exist/],
      ['s3://', /names no bucket: expected s3:\/\/BUCKET\/PREFIX/],
    ] as const) {
      const { code, stderr } = await importTree(source, ['--data', workspace.path('data')])
      assert.equal(code, 1)
      assert.match(stderr, message)
    }
  })
})

const blobsIn = async (data: string): Promise<number> =>
  (await readdir(join(data, 'links'), { recursive: true, withFileTypes: true }).catch(() => [])).filter((entry) =>
    entry.isFile(),
  ).length

async function addFile(path: string, text: string | Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, text)
}

/** As the old registry would have written it: an image with one layer for each. */
async function addBlobs(tree: string, name: string, count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    const bytes = noise(`blob ${n}`, 2 * 1024 * 1024)
    const digest = digestOf(bytes)
    const hex = digest.slice('sha256:'.length)
    await addFile(join(tree, 'blobs/sha256', hex.slice(0, 2), hex, 'data'), bytes)
    await addFile(join(tree, 'repositories', name, '_layers/sha256', hex, 'link'), digest)
  }
}

async function addSchema1(tree: string, name: string): Promise<void> {
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 1, name, tag: TAG, fsLayers: [], history: [], signatures: [] }),
  )
  const digest = digestOf(bytes)
  const hex = digest.slice('sha256:'.length)
  await addFile(join(tree, 'blobs/sha256', hex.slice(0, 2), hex, 'data'), bytes)
  await addFile(join(tree, 'repositories', name, '_manifests/revisions/sha256', hex, 'link'), digest)
}
