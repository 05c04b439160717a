/**
 * The client beside those that people come from. Each row of the table is an operation that two of them do, one after the other or side by side, and a
 * fact on which they have to agree: what a layout, an archive or a registry holds, byte for byte; a digest; a list.
 */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { before, describe, it } from 'node:test'
import { pullBusybox } from '../../client/testing/busybox-image.ts'
import { type Content, contentOf, imageOf, noise, type Slug, writeLayout } from '../interop/content.ts'
import { assertLayout, assertStored, movesEverything, pushOver } from '../interop/moves.ts'
import { openStage } from '../interop/stage.ts'
import { type Distribution, startDistribution } from '../support/distribution.ts'
import { type Dockerd, startDockerd } from '../support/dockerd.ts'
import { LAUNCHER } from '../support/gantry-serve.ts'
import { goTool, notBuilt } from '../support/go-tools.ts'
import { missing } from '../support/needs.ts'

const [crane, regctl, oras] = [goTool('crane'), goTool('regctl'), goTool('oras')]
const SKOPEO_COPY = ['copy', '--all', '--preserve-digests', '--src-tls-verify=false', '--dest-tls-verify=false']
const GANTRY_COPY = ['copy', '--quiet', '--all']

const needs = (await missing('skopeo', 'dockerd', 'docker')) || (await notBuilt('crane', 'regctl', 'oras', 'registry'))

describe('the client of Gantry', { skip: needs }, async () => {
  const stage = openStage()
  let distribution: Distribution
  let dockerd: Dockerd
  before(async () => {
    distribution = await startDistribution(goTool('registry'), stage.workspace.path('distribution'))
    stage.cleanup.use(distribution)
    dockerd = await startDockerd(stage.workspace)
    stage.cleanup.use(dockerd)
  })

  const environment = (): NodeJS.ProcessEnv => ({
    ...stage.workspace.env,
    XDG_STATE_HOME: stage.workspace.path('state'),
  })
  const gantry = async (...args: readonly string[]): Promise<string> => {
    const root = ['--root', stage.workspace.path('store')]
    const said = await stage.succeed(process.execPath, [LAUNCHER, ...root, ...args], { env: environment() })
    return said.trimEnd()
  }
  const skopeo = (...args: readonly string[]): Promise<string> => stage.succeed('skopeo', args)
  const regctlAt = (host: string, ...args: readonly string[]): Promise<string> =>
    stage.succeed(regctl, ['--host', `reg=${host},tls=disabled`, ...args])

  let folders = 0
  const fresh = (): string => stage.workspace.path(`fresh-${++folders}`)
  let names = 0
  /** A name that nobody used, in our registry or in the other one. */
  const name = (): string => `agreed/n${++names}`
  async function given(slug: Slug = 'image'): Promise<{ readonly content: Content; readonly layout: string }> {
    const [content, layout] = [await contentOf(slug), fresh()]
    await writeLayout(layout, content, 'v1')
    return { content, layout }
  }
  async function stored(
    slug: Slug = 'image',
  ): Promise<{ readonly content: Content; readonly image: string; readonly repository: string }> {
    const [content, repository] = [await contentOf(slug), name()]
    await pushOver(stage.registry.url, repository, content)
    return { content, repository, image: `${stage.registry.host}/${repository}:v1` }
  }
  const parsed = <T>(text: string): T => JSON.parse(text) as T

  await movesEverything(
    'gantry',
    {
      push: (layout, image) => [process.execPath, LAUNCHER, ...GANTRY_COPY, `oci:${layout}:v1`, image],
      pull: (image, layout) => [process.execPath, LAUNCHER, ...GANTRY_COPY, image, `oci:${layout}:v1`],
      cannot: { push: {}, pull: {} },
    },
    () => stage,
  )

  type Fact = () => Promise<void>
  const table: (readonly [title: string, fact: Fact])[] = []
  const row = (title: string, fact: Fact): void => void table.push([title, fact])

  // Layouts: what one writes, the other takes into a registry, and the other way round.
  const movers = {
    skopeo: {
      kinds: ['image', 'index', 'zstd', 'artifact'],
      into: (layout: string, image: string) => skopeo(...SKOPEO_COPY, `oci:${layout}:v1`, `docker://${image}`),
      outOf: (image: string, layout: string) => skopeo(...SKOPEO_COPY, `docker://${image}`, `oci:${layout}:v1`),
    },
    crane: {
      kinds: ['image', 'index', 'plain'],
      into: (layout: string, image: string) => stage.succeed(crane, ['push', layout, image]),
      outOf: (image: string, layout: string) => stage.succeed(crane, ['pull', '--format=oci', image, layout]),
    },
    regctl: {
      kinds: ['image', 'nested', 'artifact', 'docker'],
      into: (layout: string, image: string) =>
        regctlAt(image.split('/')[0] ?? '', 'image', 'copy', `ocidir://${layout}:v1`, image),
      outOf: (image: string, layout: string) =>
        regctlAt(image.split('/')[0] ?? '', 'image', 'copy', image, `ocidir://${layout}:v1`),
    },
    oras: {
      kinds: ['image', 'index', 'artifact'],
      into: (layout: string, image: string) =>
        stage.succeed(oras, ['cp', '--no-tty', '--to-plain-http', '--from-oci-layout', `${layout}:v1`, image]),
      outOf: (image: string, layout: string) =>
        stage.succeed(oras, ['cp', '--no-tty', '--from-plain-http', '--to-oci-layout', image, `${layout}:v1`]),
    },
  } as const
  for (const [tool, { kinds, into, outOf }] of Object.entries(movers))
    for (const kind of kinds) {
      row(`${tool} takes the layout that we write of ${kind}`, async () => {
        const { content, image } = await stored(kind)
        const [layout, to] = [fresh(), name()]
        await gantry(...GANTRY_COPY, image, `oci:${layout}:v1`)
        await into(layout, `${stage.registry.host}/${to}:v1`)
        await assertStored(stage.registry.url, to, content)
      })
      row(`we take the layout that ${tool} writes of ${kind}`, async () => {
        const { content, image } = await stored(kind)
        const [layout, to] = [fresh(), name()]
        await outOf(image, layout)
        // crane writes no name into a layout: the only image is meant.
        await gantry(...GANTRY_COPY, `oci:${layout}${tool === 'crane' ? '' : ':v1'}`, `${stage.registry.host}/${to}:v1`)
        await assertStored(stage.registry.url, to, content)
      })
    }

  // Archives.
  row('skopeo takes our oci-archive', async () => {
    const { content, image } = await stored('index')
    const [file, to] = [fresh(), name()]
    await gantry(...GANTRY_COPY, image, `oci-archive:${file}:v1`)
    await skopeo(...SKOPEO_COPY, `oci-archive:${file}:v1`, `docker://${stage.registry.host}/${to}:v1`)
    await assertStored(stage.registry.url, to, content)
  })
  row('we take the oci-archive of skopeo', async () => {
    const { content, image } = await stored('index')
    const [file, to] = [fresh(), name()]
    await skopeo(...SKOPEO_COPY, `docker://${image}`, `oci-archive:${file}:v1`)
    await gantry(...GANTRY_COPY, `oci-archive:${file}:v1`, `${stage.registry.host}/${to}:v1`)
    await assertStored(stage.registry.url, to, content)
  })
  row('regctl takes our oci-archive', async () => {
    const { content, image } = await stored('image')
    const [file, to] = [fresh(), name()]
    await gantry(...GANTRY_COPY, image, `oci-archive:${file}:v1`)
    await regctlAt(stage.registry.host, 'image', 'import', `${stage.registry.host}/${to}:v1`, file)
    await assertStored(stage.registry.url, to, content)
  })
  row('we take the archive of regctl', async () => {
    const { content, image } = await stored('image')
    const [file, to] = [fresh(), name()]
    await regctlAt(stage.registry.host, 'image', 'export', image, file)
    await gantry(...GANTRY_COPY, `oci-archive:${file}`, `${stage.registry.host}/${to}:v1`)
    await assertStored(stage.registry.url, to, content)
  })
  row('skopeo takes our docker-archive: the same configuration', async () => {
    const { image } = await stored('image')
    const [file, to] = [fresh(), fresh()]
    await gantry('copy', '--quiet', image, `docker-archive:${file}:agreed/x:1`)
    await skopeo('copy', `docker-archive:${file}:agreed/x:1`, `dir:${to}`)
    const { config } = parsed<{ config: { digest: string } }>(await readFile(`${to}/manifest.json`, 'utf8'))
    assert.equal(config.digest, await configOf(image))
  })
  row('we take the docker-archive of skopeo: the same configuration', async () => {
    const { image } = await stored('image')
    const [file, to] = [fresh(), name()]
    await skopeo('copy', '--src-tls-verify=false', `docker://${image}`, `docker-archive:${file}:agreed/x:1`)
    await gantry('copy', '--quiet', `docker-archive:${file}:agreed/x:1`, `${stage.registry.host}/${to}:v1`)
    assert.equal(await configOf(`${stage.registry.host}/${to}:v1`), await configOf(image))
  })
  row('we take the tarball of crane: the same configuration', async () => {
    const { image } = await stored('image')
    const [file, to] = [fresh(), name()]
    await stage.succeed(crane, ['pull', image, file])
    await gantry('copy', '--quiet', `docker-archive:${file}`, `${stage.registry.host}/${to}:v1`)
    assert.equal(await configOf(`${stage.registry.host}/${to}:v1`), await configOf(image))
  })
  row('crane takes our docker-archive: the same configuration', async () => {
    const { image } = await stored('image')
    const [file, to] = [fresh(), name()]
    await gantry('copy', '--quiet', image, `docker-archive:${file}:agreed/x:1`)
    await stage.succeed(crane, ['push', file, `${stage.registry.host}/${to}:v1`])
    assert.equal(await configOf(`${stage.registry.host}/${to}:v1`), await configOf(image))
  })
  async function configOf(image: string): Promise<string> {
    const answer = await stage.succeed(crane, ['manifest', image])
    return parsed<{ config: { digest: string } }>(answer).config.digest
  }

  // docker.
  const ofDocker = async (
    layers: readonly number[] = [2000, 300],
  ): Promise<{ readonly id: string; readonly image: string }> => {
    const [content, repository] = [await imageOf(name(), layers), name()]
    await pushOver(stage.registry.url, repository, content)
    const image = `${stage.registry.host}/${repository}:v1`
    return { image, id: await configOf(image) }
  }
  row('docker loads what we save', async () => {
    const { image, id } = await ofDocker()
    const file = fresh()
    await gantry('pull', '--quiet', image)
    await gantry('save', '--quiet', '-o', file, image)
    await dockerd.docker(['load', '-i', file])
    assert.equal((await dockerd.docker(['image', 'inspect', '-f', '{{.Id}}', image])).trim(), id)
  })
  row('docker loads what we copy into a pipe', async () => {
    const { image, id } = await ofDocker()
    const archive = await stage.run(
      'sh',
      [
        '-c',
        `"$0" "$1" copy --quiet ${image} docker-archive:-:agreed/piped:1 > ${stage.workspace.path('piped')}`,
        process.execPath,
        LAUNCHER,
      ],
      { env: environment() },
    )
    assert.equal(archive.code, 0, archive.stderr)
    await dockerd.docker(['load', '-i', stage.workspace.path('piped')])
    assert.equal((await dockerd.docker(['image', 'inspect', '-f', '{{.Id}}', 'agreed/piped:1'])).trim(), id)
  })
  row('docker loads what we commit, with what the container has written and hidden', async () => {
    const root = stage.workspace.path('store')
    const base = await pullBusybox(root)
    const [committed, file] = [`${stage.registry.host}/${name()}:v1`, fresh()]
    await gantry(
      'run',
      '--name',
      'worker',
      base,
      'sh',
      '-c',
      'echo hi > /srv/new; rm /srv/seed.txt; rm -r /root; mkdir /root',
    )
    const id = await gantry('commit', '-c', 'CMD ["find", "/srv", "/root"]', 'worker', committed)
    await gantry('rm', 'worker')
    await gantry('save', '--quiet', '-o', file, committed)
    await dockerd.docker(['load', '-i', file])
    assert.equal((await dockerd.docker(['image', 'inspect', '-f', '{{.Id}}', committed])).trim(), id)
    const found = await dockerd.docker(['run', '--rm', '--network', 'none', committed])
    assert.deepEqual(found.trim().split('\n').sort(), ['/root', '/srv', '/srv/new'])
  })
  row('we load what docker saves, under the names that it has', async () => {
    const { image, id } = await ofDocker()
    const file = fresh()
    await dockerd.docker(['pull', image])
    await dockerd.docker(['tag', image, 'short:1'])
    await dockerd.docker(['save', '-o', file, image, 'short:1'])
    const loaded = parsed<{ name: string; id: string }[]>(await gantry('load', '--quiet', '--json', '-i', file))
    assert.deepEqual(loaded.map(({ name: own }) => own).toSorted(), [image, 'docker.io/library/short:1'].toSorted())
    assert.deepEqual(new Set(loaded.map((each) => each.id)), new Set([id]))
  })
  row('docker pulls what we push', async () => {
    const { image, id } = await ofDocker()
    const to = `${stage.registry.host}/${name()}:v1`
    await gantry('pull', '--quiet', image)
    await gantry('push', '--quiet', image, to)
    await dockerd.docker(['pull', to])
    assert.equal((await dockerd.docker(['image', 'inspect', '-f', '{{.Id}}', to])).trim(), id)
  })
  row('we pull what docker pushes', async () => {
    const { image, id } = await ofDocker()
    const to = `${stage.registry.host}/${name()}:v1`
    await dockerd.docker(['pull', image])
    await dockerd.docker(['tag', image, to])
    await dockerd.docker(['push', to])
    assert.equal(parsed<{ id: string }>(await gantry('pull', '--quiet', '--json', to)).id, id)
  })
  row('docker sees the history that we see', async () => {
    const { image } = await ofDocker()
    await dockerd.docker(['pull', image])
    const theirs = (await dockerd.docker(['history', '-q', image])).trim().split('\n')
    assert.equal(parsed<object[]>(await gantry('history', '--json', image)).length, theirs.length)
  })

  // Facts about what lies in a registry.
  row('crane names the digest that we push', async () => {
    const { layout, content } = await given('index')
    const image = `${stage.registry.host}/${name()}:v1`
    assert.equal(await gantry(...GANTRY_COPY, `oci:${layout}:v1`, image), content.root.digest)
    assert.equal((await stage.succeed(crane, ['digest', image])).trim(), content.root.digest)
  })
  row('crane finds nothing wrong with what we pushed', async () => {
    const { layout } = await given('image')
    const image = `${stage.registry.host}/${name()}:v1`
    await gantry(...GANTRY_COPY, `oci:${layout}:v1`, image)
    await stage.succeed(crane, ['validate', '--remote', image])
  })
  row('crane prints the manifest that we print', async () => {
    const { image } = await stored('index')
    assert.equal(
      await gantry('manifest', 'inspect', '--raw', image),
      (await stage.succeed(crane, ['manifest', image])).trimEnd(),
    )
  })
  row('skopeo inspects as we do', async () => {
    const { image } = await stored('image')
    const theirs = parsed<{ Digest: string; Layers: string[]; Architecture: string }>(
      await skopeo('inspect', '--tls-verify=false', `docker://${image}`),
    )
    const [ours] = parsed<{ Digest: string; Layers: { Digest: string }[]; Architecture: string }[]>(
      await gantry('inspect', image),
    )
    assert.deepEqual([theirs.Digest, theirs.Architecture], [ours?.Digest, ours?.Architecture])
    assert.deepEqual(
      theirs.Layers,
      ours?.Layers.map(({ Digest }) => Digest),
    )
  })
  row('crane, skopeo and regctl list the tags that we list', async () => {
    const { content, repository, image } = await stored('artifact')
    for (const tag of ['b', 'a', 'v10', 'V2']) await pushOver(stage.registry.url, repository, content, tag)
    const ours = (await gantry('tags', image.replace(/:v1$/, ''))).split('\n')
    assert.deepEqual(ours, ['V2', 'a', 'b', 'v1', 'v10'])
    const bare = `${stage.registry.host}/${repository}`
    assert.deepEqual((await stage.succeed(crane, ['ls', bare])).trim().split('\n').toSorted(), ours)
    assert.deepEqual(
      parsed<{ Tags: string[] }>(await skopeo('list-tags', '--tls-verify=false', `docker://${bare}`)).Tags.toSorted(),
      ours,
    )
    assert.deepEqual((await regctlAt(stage.registry.host, 'tag', 'ls', bare)).trim().split('\n').toSorted(), ours)
  })
  row('crane lists the repositories that we list', async () => {
    await stored('artifact')
    const theirs = (await stage.succeed(crane, ['catalog', stage.registry.host])).trim().split('\n')
    assert.deepEqual((await gantry('tags', stage.registry.host)).split('\n'), theirs)
  })
  row('what we delete is gone for crane, what crane deletes is gone for us', async () => {
    const { content, repository } = await stored('artifact')
    await pushOver(stage.registry.url, repository, content, 'v2')
    const bare = `${stage.registry.host}/${repository}`
    await gantry('delete', `${bare}:v1`)
    assert.equal((await stage.succeed(crane, ['ls', bare])).trim(), 'v2')
    await stage.succeed(crane, ['delete', `${bare}@${content.root.digest}`])
    assert.equal(await gantry('tags', bare), '')
  })
  row('an index that we put together is one for crane and skopeo', async () => {
    const { content, repository } = await stored('index')
    const bare = `${stage.registry.host}/${repository}`
    const parts = [...content.manifests.keys()].filter((digest) => digest !== content.root.digest)
    const index = `${stage.registry.host}/${name()}:v1`
    await gantry('manifest', 'create', index, ...parts.map((digest) => `${bare}@${digest}`))
    await gantry('manifest', 'annotate', '--annotation', 'a=b', index, parts[1] ?? '')
    await gantry('manifest', 'push', index)
    await stage.succeed(crane, ['validate', '--remote', index])
    const { manifests } = parsed<{ manifests: { digest: string; platform: { architecture: string } }[] }>(
      await stage.succeed(crane, ['manifest', index]),
    )
    assert.deepEqual(new Set(manifests.map(({ digest }) => digest)), new Set(parts))
    for (const { digest, platform } of manifests)
      assert.equal(
        (await stage.succeed(crane, ['digest', `--platform=linux/${platform.architecture}`, index])).trim(),
        digest,
      )
    await skopeo(...SKOPEO_COPY, `docker://${index}`, `oci:${fresh()}:v1`)
  })
  row('crane chooses the image of an index for each platform that we choose', async () => {
    const { content, image } = await stored('index')
    const [amd64, arm64] = await Promise.all(
      ['amd64', 'arm64'].map((arch) => gantry('inspect', '--platform', `linux/${arch}`, image)),
    )
    const digests = [amd64, arm64].map((text) => parsed<{ Digest: string }[]>(text ?? '')[0]?.Digest ?? '')
    assert.ok(digests.every((each) => content.manifests.has(each)) && digests[0] !== digests[1])
    assert.equal((await stage.succeed(crane, ['digest', '--platform=linux/arm64', image])).trim(), digests[1])
  })

  // Artifacts.
  row('oras pulls the files that we push, and we those that oras pushes', async () => {
    const [from, ours, theirs] = [fresh(), fresh(), fresh()]
    for (const folder of [from, ours, theirs]) await mkdir(folder)
    await writeFile(`${from}/a.bin`, noise('a', 2_000_000))
    await writeFile(`${from}/b.txt`, 'b')
    const [byUs, byThem] = [`${stage.registry.host}/${name()}:v1`, `${stage.registry.host}/${name()}:v1`]
    await gantry(
      'artifact',
      'push',
      '--artifact-type',
      'application/vnd.example.files',
      byUs,
      `${from}/a.bin:application/x-a`,
      `${from}/b.txt`,
    )
    await stage.succeed(oras, ['pull', '--no-tty', '--plain-http', '-o', theirs, byUs])
    await stage.succeed(
      oras,
      [
        'push',
        '--no-tty',
        '--plain-http',
        '--artifact-type',
        'application/vnd.example.files',
        byThem,
        'a.bin',
        'b.txt',
      ],
      { cwd: from },
    )
    await gantry('artifact', 'pull', '-o', ours, byThem)
    for (const file of ['a.bin', 'b.txt'])
      for (const folder of [ours, theirs])
        assert.ok((await readFile(`${folder}/${file}`)).equals(await readFile(`${from}/${file}`)), `${folder}/${file}`)
  })
  for (const where of ['our registry', 'distribution, which has no referrers'] as const)
    row(`oras discovers what we attach, and we what oras attaches, in ${where}`, async () => {
      const host = where === 'our registry' ? stage.registry.host : distribution.host
      const { layout } = await given('image')
      const [image, folder] = [`${host}/${name()}:v1`, fresh()]
      await gantry(...GANTRY_COPY, `oci:${layout}:v1`, image)
      await mkdir(folder)
      await writeFile(`${folder}/note.txt`, 'note')
      const ours = await gantry(
        'artifact',
        'attach',
        '-q',
        '--artifact-type',
        'application/vnd.example.ours',
        image,
        `${folder}/note.txt`,
      )
      const theirs = parsed<{ digest: string }>(
        await stage.succeed(
          oras,
          [
            'attach',
            '--no-tty',
            '--plain-http',
            '--format=json',
            '--artifact-type',
            'application/vnd.example.theirs',
            image,
            'note.txt',
          ],
          { cwd: folder },
        ),
      ).digest
      const weSee = parsed<{ referrers: { digest: string }[] }>(
        await gantry('artifact', 'discover', '--json', image),
      ).referrers
      const theySee = parsed<{ referrers: { digest: string }[] }>(
        await stage.succeed(oras, ['discover', '--plain-http', '--format=json', '--depth=1', image]),
      ).referrers
      const digests = (list: readonly { digest: string }[]): readonly string[] =>
        list.map(({ digest }) => digest).toSorted()
      assert.deepEqual(digests(weSee), [ours, theirs].toSorted())
      assert.deepEqual(digests(theySee), [ours, theirs].toSorted())
    })

  for (const where of ['our registry', 'distribution, which has no referrers'] as const)
    row(`what refers to an image goes along as regctl takes it, into ${where}`, async () => {
      const host = where === 'our registry' ? stage.registry.host : distribution.host
      const { image } = await stored('image')
      const [byUs, byThem, folder] = [`${host}/${name()}:v1`, `${host}/${name()}:v1`, fresh()]
      await mkdir(folder)
      await writeFile(`${folder}/note.txt`, 'note')
      const attach = ['artifact', 'attach', '-q', '--artifact-type', 'application/vnd.example.note']
      const note = await gantry(...attach, image, `${folder}/note.txt`)
      const aboutNote = await gantry(...attach, `${image.replace(/:v1$/, '')}@${note}`, `${folder}/note.txt`)
      await gantry(...GANTRY_COPY, '--referrers', image, byUs)
      const plain = ['--host', `reg=${stage.registry.host},tls=disabled`]
      await regctlAt(host, ...plain, 'image', 'copy', '--referrers', image, byThem)
      for (const copied of [byUs, byThem])
        for (const [subject, referrer] of [
          [copied, note],
          [`${copied.replace(/:v1$/, '')}@${note}`, aboutNote],
        ] as const) {
          const discovered = await stage.succeed(oras, [
            'discover',
            '--plain-http',
            '--format=json',
            '--depth=1',
            subject,
          ])
          const digests = parsed<{ referrers: { digest: string }[] }>(discovered).referrers.map(({ digest }) => digest)
          assert.deepEqual(digests, [referrer], subject)
        }
    })

  // Another registry than ours.
  for (const kind of ['image', 'index', 'docker', 'artifact'] as const)
    row(`${kind} goes into distribution, as crane sees it, and comes back`, async () => {
      const { layout, content } = await given(kind)
      const [image, back] = [`${distribution.host}/${name()}:v1`, fresh()]
      await gantry(...GANTRY_COPY, `oci:${layout}:v1`, image)
      assert.equal((await stage.succeed(crane, ['digest', image])).trim(), content.root.digest)
      await gantry(...GANTRY_COPY, image, `oci:${back}:v1`)
      await assertLayout(back, content)
    })
  row('a large layer goes into distribution in one stream', async () => {
    const content = await imageOf('large', [30_000_000])
    const [layout, image] = [fresh(), `${distribution.host}/${name()}:v1`]
    await writeLayout(layout, content, 'v1')
    await gantry(...GANTRY_COPY, `oci:${layout}:v1`, image)
    await stage.succeed(crane, ['validate', '--remote', image])
  })
  row('inside distribution nothing but mounts travels', async () => {
    const { layout } = await given('image')
    const [from, to] = [`${distribution.host}/${name()}:v1`, `${distribution.host}/${name()}:v1`]
    await gantry(...GANTRY_COPY, `oci:${layout}:v1`, from)
    const { blobs } = parsed<{ blobs: { sent: number; mounted: number } }>(
      await gantry('copy', '--quiet', '--json', from, to),
    )
    assert.ok(blobs.sent === 0 && blobs.mounted > 0, JSON.stringify(blobs))
  })
  row('sync brings what skopeo sync brings', async () => {
    const { content, repository } = await stored('index')
    await pushOver(stage.registry.url, repository, await contentOf('zstd'), 'z')
    await gantry('sync', `${stage.registry.host}/${repository}`, `${distribution.host}/ours/${repository}`)
    await skopeo(
      'sync',
      '--all',
      '--preserve-digests',
      '--src-tls-verify=false',
      '--dest-tls-verify=false',
      '--src=docker',
      '--dest=docker',
      `${stage.registry.host}/${repository}`,
      `${distribution.host}/theirs`,
    )
    for (const tag of ['v1', 'z']) {
      const digest = async (image: string): Promise<string> => (await stage.succeed(crane, ['digest', image])).trim()
      const ours = await digest(`${distribution.host}/ours/${repository}:${tag}`)
      assert.equal(ours, await digest(`${distribution.host}/theirs/${repository.split('/').at(-1)}:${tag}`))
      if (tag === 'v1') assert.equal(ours, content.root.digest)
    }
  })

  for (const [title, fact] of table) it(title, fact)
  it('has a table of at least forty operations', () => assert.ok(table.length >= 40, `${table.length}`))
})
