/** buildx and buildkit: indexes of several platforms with attestations, zstd, a build cache that lives in the registry. */
import assert from 'node:assert/strict'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { before, describe, it } from 'node:test'
import { type Buildkitd, startBuildkitd } from '../support/buildkitd.ts'
import { notBuilt } from '../support/go-tools.ts'
import { findAll, missing } from '../support/needs.ts'
import { digestOf } from './content.ts'
import { openStage } from './stage.ts'

const DOCKERFILE = `FROM scratch AS base
ARG TARGETARCH
COPY busybox /bin/busybox
COPY note-$TARGETARCH /note
FROM base
RUN ["/bin/busybox", "sh", "-c", "echo made > /made"]
`

const skip = (await notBuilt('buildx', 'buildkitd')) || (await missing('runc', 'busybox'))

describe('buildkit', { skip }, () => {
  const stage = openStage()
  let buildkit: Buildkitd
  let context: string

  before(async () => {
    buildkit = stage.cleanup.use(await startBuildkitd(stage.workspace, [stage.registry.host]))
    context = stage.workspace.path('context')
    await mkdir(context)
    const [busybox = ''] = await findAll('busybox')
    await copyFile(busybox, `${context}/busybox`)
    for (const platform of ['amd64', 'arm64']) await writeFile(`${context}/note-${platform}`, `for ${platform}`)
    await writeFile(`${context}/Dockerfile`, DOCKERFILE)
  })

  /** What it said, which is on standard error. */
  async function build(...args: string[]): Promise<string> {
    const { code, stderr } = await buildkit.buildx('build', '--progress=plain', ...args, context)
    assert.equal(code, 0, `${stderr}\n${await stage.said()}`)
    return stderr
  }

  /** The bytes that the registry has, under the digest that they must have. */
  async function manifest(name: string, reference: string): Promise<Manifest> {
    const answer = await fetch(`${stage.registry.url}/v2/${name}/manifests/${reference}`, {
      headers: { Accept: '*/*' },
    })
    assert.equal(answer.status, 200, `${name} has no ${reference}`)
    const bytes = Buffer.from(await answer.arrayBuffer())
    const digest = answer.headers.get('docker-content-digest') ?? ''
    assert.equal(digestOf(bytes), digest)
    return { ...JSON.parse(bytes.toString()), digest } as Manifest
  }

  it('pushes an index of two platforms with their attestations; a build from the registry gets what was pushed', async () => {
    const { registry, workspace } = stage
    const metadata = workspace.path('metadata.json')
    const platforms = ['--platform=linux/amd64,linux/arm64', '--target=base', '--provenance=mode=max']
    await build(...platforms, `--metadata-file=${metadata}`, `--tag=${registry.host}/built/base:v1`, '--push')
    const pushed = JSON.parse(await readFile(metadata, 'utf8')) as Record<string, unknown>
    const index = await manifest('built/base', 'v1')
    assert.equal(index.digest, pushed['containerimage.digest'])
    assert.deepEqual(index.manifests?.map(({ platform }) => `${platform.os}/${platform.architecture}`).toSorted(), [
      'linux/amd64',
      'linux/arm64',
      'unknown/unknown',
      'unknown/unknown',
    ])
    for (const { digest } of index.manifests ?? []) assert.equal((await manifest('built/base', digest)).digest, digest)

    await writeFile(`${context}/From`, `FROM ${registry.host}/built/base:v1@${index.digest}\nCOPY note-amd64 /again\n`)
    const out = workspace.path('out')
    await build(`--file=${context}/From`, `--output=type=local,dest=${out}`)
    assert.equal(await readFile(`${out}/note`, 'utf8'), 'for amd64')
    assert.ok((await readFile(`${out}/bin/busybox`)).equals(await readFile(`${context}/busybox`)))
  })

  it('pushes layers as zstd and as docker’s types, and runs a step of the build', async () => {
    const { registry } = stage
    const plain = ['--provenance=false', '--sbom=false']
    const output = `type=image,push=true,name=${registry.host}/built`
    await build(...plain, `--output=${output}/zstd:v1,compression=zstd,force-compression=true,oci-mediatypes=true`)
    await build(...plain, `--output=${output}/docker:v1,compression=gzip,force-compression=true,oci-mediatypes=false`)
    const [zstd, docker] = [await manifest('built/zstd', 'v1'), await manifest('built/docker', 'v1')]
    const types = ({ layers = [] }: Manifest): Set<string> => new Set(layers.map(({ mediaType }) => mediaType))
    assert.deepEqual(types(zstd), new Set(['application/vnd.oci.image.layer.v1.tar+zstd']))
    assert.deepEqual(types(docker), new Set(['application/vnd.docker.image.rootfs.diff.tar.gzip']))
    assert.equal(docker.mediaType, 'application/vnd.docker.distribution.manifest.v2+json')
  })

  it('keeps its cache in the registry: a builder that forgot everything builds nothing again', async () => {
    const { registry } = stage
    const gzip = 'compression=gzip,force-compression=true' // or it takes what other builds have left
    const cache = `type=registry,ref=${registry.host}/built/cache:v1`
    const output = `--output=type=image,push=true,name=${registry.host}/built/cached:v1,${gzip}`
    const cached = ['--provenance=false', output]
    await build(...cached, `--cache-to=${cache},mode=max,${gzip}`)
    const before = await manifest('built/cached', 'v1')
    const pruned = await buildkit.buildx('prune', '--all', '--force')
    assert.equal(pruned.code, 0, pruned.stderr)
    const said = await build(...cached, `--cache-from=${cache}`)
    assert.equal(said.match(/ CACHED$/gm)?.length, 3, said)
    assert.deepEqual((await manifest('built/cached', 'v1')).layers, before.layers) // its configuration says when
  })

  it('puts an index together from what the registry has', async () => {
    const { registry } = stage
    const from = ['zstd', 'docker'].map((name) => `${registry.host}/built/${name}:v1`)
    const made = await buildkit.buildx('imagetools', 'create', '--tag', `${registry.host}/built/index:v1`, ...from)
    assert.equal(made.code, 0, made.stderr)
    const { manifests = [] } = await manifest('built/index', 'v1')
    const sources = [await manifest('built/zstd', 'v1'), await manifest('built/docker', 'v1')]
    assert.deepEqual(
      manifests.map(({ digest }) => digest),
      sources.map(({ digest }) => digest),
    )
    for (const { digest } of manifests) await manifest('built/index', digest)
  })
})

interface Manifest {
  readonly digest: string
  readonly mediaType: string
  readonly manifests?: readonly { digest: string; platform: { os: string; architecture: string } }[]
  readonly layers?: readonly { digest: string; mediaType: string }[]
}
