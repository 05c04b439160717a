/** oras: artifacts of files, what is attached to what, downloads that go on by ranges. */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { startCuttingProxy } from '../support/cutting-proxy.ts'
import { goTool, notBuilt } from '../support/go-tools.ts'
import { contentOf, imageOf, noise, writeLayout } from './content.ts'
import { assertLayout, assertStored, movesEverything } from './moves.ts'
import { openStage } from './stage.ts'

const oras = goTool('oras')
const MIB = 1024 * 1024

describe('oras', { skip: await notBuilt('oras'), concurrency: 2 }, async () => {
  const stage = openStage()
  await movesEverything(
    'oras',
    {
      push: (layout, image, byDigest) => {
        const to = byDigest ? image.replace(/@.*/, '') : image
        return [oras, 'cp', '--no-tty', '--to-plain-http', '--from-oci-layout', `${layout}:v1`, to]
      },
      pull: (image, layout) => [oras, 'cp', '--no-tty', '--from-plain-http', '--to-oci-layout', image, `${layout}:v1`],
      cannot: { push: { subject: /sha256:\w+: [^:]+: not found/ }, pull: {} }, // a subject is part of what it copies
    },
    () => stage,
  )

  it('pushes files and pulls them back, attaches to them, and shows the tree', async () => {
    const { registry, workspace } = stage
    const image = `${registry.host}/files:v1`
    const cwd = workspace.path('files')
    const back = workspace.path('files-back')
    await mkdir(cwd)
    await writeFile(`${cwd}/a.bin`, noise('a', 2_000_000))
    await writeFile(`${cwd}/b.txt`, 'b')
    await writeFile(`${cwd}/note.txt`, 'about the files')
    const plain = ['--no-tty', '--plain-http']
    const type = ['--artifact-type', 'application/vnd.example.files']
    await stage.succeed(oras, ['push', ...plain, ...type, image, 'a.bin:application/x-a', 'b.txt:text/plain'], { cwd })
    await stage.succeed(oras, ['pull', ...plain, '-o', back, image])
    for (const file of ['a.bin', 'b.txt']) {
      assert.ok((await readFile(`${back}/${file}`)).equals(await readFile(`${cwd}/${file}`)), file)
    }

    const attach = (type: string, subject: string): Promise<string> =>
      stage.succeed(oras, ['attach', ...plain, '--format=json', '--artifact-type', type, subject, 'note.txt'], { cwd })
    const attached = JSON.parse(await attach('application/vnd.example.note', image)) as { digest: string }
    await attach('application/vnd.example.signature', `${registry.host}/files@${attached.digest}`)
    const discover = ['discover', '--plain-http', '--format=json', '--depth=2']
    const tree = JSON.parse(await stage.succeed(oras, [...discover, image])) as Referrers
    assert.deepEqual(typesOf(tree), [['application/vnd.example.note', [['application/vnd.example.signature', []]]]])

    // The whole graph goes to another repository, and through a layout on disk.
    const copy = `${registry.host}/files-copy:v1`
    await stage.succeed(oras, ['cp', '-r', '--no-tty', '--from-plain-http', '--to-plain-http', image, copy])
    assert.deepEqual(typesOf(JSON.parse(await stage.succeed(oras, [...discover, copy])) as Referrers), typesOf(tree))
    await stage.succeed(oras, ['backup', ...plain, '--include-referrers', '-o', workspace.path('backup'), image])
    const restored = `${registry.host}/files-restored:v1`
    await stage.succeed(oras, ['restore', ...plain, '--input', workspace.path('backup'), restored])
    assert.deepEqual(
      typesOf(JSON.parse(await stage.succeed(oras, [...discover, restored])) as Referrers),
      typesOf(tree),
    )

    await stage.succeed(oras, [
      'manifest',
      'delete',
      '--plain-http',
      '--force',
      `${registry.host}/files@${attached.digest}`,
    ])
    assert.deepEqual(typesOf(JSON.parse(await stage.succeed(oras, [...discover, image])) as Referrers), [])
  })

  it('goes on with a copy whose connection was cut: what had arrived is not sent again', async () => {
    const { registry, workspace } = stage
    const content = await imageOf('oras cut', [2 * MIB, 2 * MIB, 2 * MIB, 2 * MIB])
    await writeLayout(workspace.path('cut'), content, 'v1')
    const port = Number(new URL(registry.url).port)
    await using proxy = await startCuttingProxy(port, { way: 'up', afterBytes: 5 * MIB, times: 1 })
    const cp = ['cp', '--no-tty', '--concurrency=1', '--to-plain-http', '--from-oci-layout']
    const copy = [...cp, `${workspace.path('cut')}:v1`, `${proxy.host}/cut:v1`]
    const first = await stage.run(oras, copy)
    assert.equal(proxy.cuts(), 1)
    if (first.code !== 0) await stage.succeed(oras, copy)
    await assertStored(registry.url, 'cut', content)
    assert.ok(proxy.bytes('up') < 11 * MIB, `${proxy.bytes('up')} bytes were sent for 8 MiB`)
  })

  it('resolves, tags, lists, and moves single blobs', async () => {
    const { registry, workspace } = stage
    const content = await contentOf('nested')
    const image = `${registry.host}/single`
    await writeLayout(workspace.path('single'), content, 'v1')
    const cp = ['cp', '--no-tty', '--to-plain-http', '--from-oci-layout', `${workspace.path('single')}:v1`]
    await stage.succeed(oras, [...cp, `${image}:v1,v2`])
    await stage.succeed(oras, ['tag', '--plain-http', `${image}:v2`, 'v3'])
    assert.equal((await stage.succeed(oras, ['resolve', '--plain-http', `${image}:v3`])).trim(), content.root.digest)
    assert.equal(await stage.succeed(oras, ['repo', 'tags', '--plain-http', image]), 'v1\nv2\nv3\n')
    assert.match(await stage.succeed(oras, ['repo', 'ls', '--plain-http', registry.host]), /^single$/m)
    await assertStored(registry.url, 'single', content, ['v1', 'v2', 'v3'])

    await writeFile(workspace.path('blob'), noise('blob', 100_000))
    const said = await stage.succeed(oras, ['blob', 'push', '--plain-http', '--no-tty', image, workspace.path('blob')])
    const [, digest = ''] = /Digest: (\S+)/.exec(said) ?? []
    const fetch = ['blob', 'fetch', '--plain-http', '--no-tty', '--output', workspace.path('fetched')]
    await stage.succeed(oras, [...fetch, `${image}@${digest}`])
    assert.ok((await readFile(workspace.path('fetched'))).equals(noise('blob', 100_000)))
    await stage.succeed(oras, ['blob', 'delete', '--plain-http', '--force', `${image}@${digest}`])
    await assert.rejects(stage.succeed(oras, [...fetch, `${image}@${digest}`]), /not found/)
    const back = workspace.path('single-back')
    await stage.succeed(oras, ['cp', '--no-tty', '--from-plain-http', '--to-oci-layout', `${image}:v3`, `${back}:v1`])
    await assertLayout(back, content)
  })
})

interface Referrers {
  readonly artifactType?: string
  readonly referrers?: readonly Referrers[]
}

type Types = (string | Types)[]

const typesOf = ({ referrers = [] }: Referrers): Types =>
  referrers.map((referrer) => [referrer.artifactType ?? '', typesOf(referrer)])
