/** crane, of go-containerregistry: a HEAD before each streamed push, mounts between repositories. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { goTool, notBuilt } from '../support/go-tools.ts'
import { contentOf, writeLayout } from './content.ts'
import { assertStored, movesEverything } from './moves.ts'
import { openStage } from './stage.ts'

const crane = goTool('crane')

describe('crane', { skip: await notBuilt('crane'), concurrency: 2 }, async () => {
  const stage = openStage()
  await movesEverything(
    'crane',
    {
      push: (layout, image) => [crane, 'push', layout, image],
      pull: (image, layout) => [crane, 'pull', '--format=oci', image, layout],
      cannot: {
        push: { sha512: /MANIFEST_BLOB_UNKNOWN/ }, // it computes every digest anew, in sha256
        pull: { foreign: /layers\.invalid/ }, // it wants the layer from where it lies
      },
    },
    () => stage,
  )

  it('copies between repositories by mounting: no byte of a layer travels', async () => {
    const { registry, workspace } = stage
    const content = await contentOf('image')
    await writeLayout(workspace.path('mount'), content, 'v1')
    await stage.succeed(crane, ['push', workspace.path('mount'), `${registry.host}/mount/from:v1`])
    await stage.succeed(crane, ['copy', `${registry.host}/mount/from:v1`, `${registry.host}/mount/to:v1`])
    await assertStored(registry.url, 'mount/to', content)
    const requests = await stage.requests('mount/to', ({ method, path }) => method === 'PUT' && /manifests/.test(path))
    const posts = requests.filter(({ method }) => method === 'POST')
    assert.deepEqual(
      posts.map(({ status }) => status),
      [...content.blobs].map(() => 201),
    )
    assert.deepEqual(
      requests.filter(({ method }) => method === 'PATCH'),
      [],
    )
    await stage.succeed(crane, ['validate', '--remote', `${registry.host}/mount/to:v1`])
  })

  it('lists, tags, and deletes', async () => {
    const { registry, workspace } = stage
    const content = await contentOf('artifact')
    const image = `${registry.host}/listed/artifact`
    await writeLayout(workspace.path('listed'), content, 'v1')
    await stage.succeed(crane, ['push', workspace.path('listed'), `${image}:v1`])
    await stage.succeed(crane, ['tag', `${image}:v1`, 'v2'])
    assert.equal(await stage.succeed(crane, ['ls', image]), 'v1\nv2\n')
    assert.equal((await stage.succeed(crane, ['digest', `${image}:v2`])).trim(), content.root.digest)
    assert.ok((await stage.succeed(crane, ['catalog', registry.host])).split('\n').includes('listed/artifact'))
    await stage.succeed(crane, ['delete', `${image}:v1`])
    assert.equal(await stage.succeed(crane, ['ls', image]), 'v2\n')
    await stage.succeed(crane, ['delete', `${image}@${content.root.digest}`])
    await assert.rejects(stage.succeed(crane, ['digest', `${image}:v2`]), /MANIFEST_UNKNOWN|404/)
  })
})
