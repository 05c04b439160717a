/** skopeo, and with it the library of podman, buildah and cri-o: copy, sync, inspect, list, delete. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { missing } from '../support/needs.ts'
import { contentOf, writeLayout } from './content.ts'
import { assertStored, movesEverything } from './moves.ts'
import { openStage } from './stage.ts'

describe('skopeo', { skip: await missing('skopeo'), concurrency: 2 }, async () => {
  const stage = openStage()
  const copy = ['copy', '--all', '--preserve-digests', '--src-tls-verify=false', '--dest-tls-verify=false']
  await movesEverything(
    'skopeo',
    {
      push: (layout, image) => ['skopeo', ...copy, `oci:${layout}:v1`, `docker://${image}`],
      pull: (image, layout) => ['skopeo', ...copy, `docker://${image}`, `oci:${layout}:v1`],
      cannot: {
        push: {
          nested: /manifest list instead of a manifest for a single image/,
          sha512: /Digest of source image's manifest would not match destination reference/,
          docker: /no descriptor found/, // it knows a layout of OCI's own media types only
        },
        pull: {},
      },
    },
    () => stage,
  )

  it('syncs a repository out to a folder and in to another registry, every tag and platform', async () => {
    const { registry, workspace } = stage
    const contents = await Promise.all([contentOf('index'), contentOf('image'), contentOf('zstd')])
    for (const content of contents) {
      await writeLayout(workspace.path('sync', content.slug), content, 'v1')
      const to = `docker://${registry.host}/sync/all:${content.slug}`
      await stage.succeed('skopeo', [...copy, `oci:${workspace.path('sync', content.slug)}:v1`, to])
    }
    const sync = ['sync', '--all', '--preserve-digests', '--src-tls-verify=false', '--dest-tls-verify=false']
    const folder = workspace.path('synced')
    await stage.succeed('skopeo', [...sync, '--src=docker', '--dest=dir', `${registry.host}/sync/all`, folder])
    await stage.succeed('skopeo', [...sync, '--src=dir', '--dest=docker', folder, `${registry.host}/from-dir`])
    await stage.succeed('skopeo', [
      ...sync,
      ...['--src=docker', '--dest=docker', `${registry.host}/sync/all`, `${registry.host}/from-registry`],
    ])
    for (const content of contents) {
      await assertStored(registry.url, 'from-dir/all', content, [content.slug])
      await assertStored(registry.url, 'from-registry/all', content, [content.slug])
    }
  })

  it('inspects, lists tags, and deletes', async () => {
    const { registry, workspace } = stage
    const content = await contentOf('image')
    const layout = workspace.path('inspected')
    await writeLayout(layout, content, 'v1')
    const image = `docker://${registry.host}/inspected`
    for (const tag of ['one', 'two']) await stage.succeed('skopeo', [...copy, `oci:${layout}:v1`, `${image}:${tag}`])
    const ask = (...args: string[]): Promise<string> => stage.succeed('skopeo', [...args, '--tls-verify=false'])
    const inspected = JSON.parse(await ask('inspect', `${image}:one`)) as { Digest: string; RepoTags: string[] }
    assert.equal(inspected.Digest, content.root.digest)
    assert.deepEqual(inspected.RepoTags, ['one', 'two'])
    const raw = await ask('inspect', '--raw', `${image}@${content.root.digest}`)
    assert.equal(raw.trimEnd(), content.manifests.get(content.root.digest)?.bytes.toString())
    assert.deepEqual((JSON.parse(await ask('list-tags', image)) as { Tags: string[] }).Tags, ['one', 'two'])

    // It deletes what the tag names: with it goes every other tag of the same.
    await ask('delete', `${image}:one`)
    assert.deepEqual((JSON.parse(await ask('list-tags', image)) as { Tags: string[] }).Tags, [])
    await assert.rejects(ask('inspect', `${image}:two`), /manifest unknown/)
  })

  it('copies between repositories without the layers leaving the registry, and converts formats on the way', async () => {
    const { registry, workspace } = stage
    const content = await contentOf('image')
    const layout = workspace.path('converted')
    await writeLayout(layout, content, 'v1')
    const image = `docker://${registry.host}/converted`
    await stage.succeed('skopeo', [...copy, `oci:${layout}:v1`, `${image}/oci:v1`])
    const unchecked = ['--src-tls-verify=false', '--dest-tls-verify=false']
    await stage.succeed('skopeo', ['copy', ...unchecked, '--format=v2s2', `${image}/oci:v1`, `${image}/docker:v1`])
    const docker = await stage.succeed('skopeo', ['inspect', '--raw', '--tls-verify=false', `${image}/docker:v1`])
    assert.match(docker, /application\/vnd\.docker\.distribution\.manifest\.v2\+json/)
    await stage.succeed('skopeo', ['copy', ...unchecked, '--format=oci', `${image}/docker:v1`, `oci:${layout}-back:v1`])
    // The layers are the same bytes in both formats; the configuration is written anew.
    const manifest = content.manifests.get(content.root.digest)?.bytes.toString() ?? ''
    for (const { digest } of (JSON.parse(manifest) as { layers: { digest: string }[] }).layers) {
      const file = await readFile(join(`${layout}-back`, 'blobs', ...digest.split(':')))
      assert.ok(file.equals(content.blobs.get(digest) ?? Buffer.alloc(0)), digest)
    }
  })
})
