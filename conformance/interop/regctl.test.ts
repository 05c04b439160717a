/** regctl, of regclient: really chunked uploads that go on after a broken connection, sha512, referrers. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { startCuttingProxy } from '../support/cutting-proxy.ts'
import { goTool, notBuilt } from '../support/go-tools.ts'
import { contentOf, digestOf, noise, writeLayout } from './content.ts'
import { assertStored, movesEverything } from './moves.ts'
import { openStage } from './stage.ts'

const regctl = goTool('regctl')
const MIB = 1024 * 1024

describe('regctl', { skip: await notBuilt('regctl'), concurrency: 2 }, async () => {
  const stage = openStage()
  const ask = (...args: string[]): Promise<string> =>
    stage.succeed(regctl, ['--host', `reg=${stage.registry.host},tls=disabled`, ...args])

  const host = (image: string): string => `reg=${image.split('/')[0]},tls=disabled`
  await movesEverything(
    'regctl',
    {
      push: (layout, image) => [regctl, '--host', host(image), 'image', 'copy', `ocidir://${layout}:v1`, image],
      pull: (image, layout) => [regctl, '--host', host(image), 'image', 'copy', image, `ocidir://${layout}:v1`],
      cannot: { push: {}, pull: {} },
    },
    () => stage,
  )

  it('goes on with an upload whose connections were cut, from what the registry has of it', async () => {
    const { registry, workspace } = stage
    const size = 8 * MIB
    const file = noise('resumed', size)
    await using proxy = await startCuttingProxy(Number(new URL(registry.url).port), {
      way: 'up',
      afterBytes: 2.5 * MIB,
      times: 3,
    })
    const env = { ...workspace.env, REGCTL_CONFIG: workspace.path('regctl-chunked.json') }
    const chunked = ['--blob-max=1', `--blob-chunk=${4 * MIB}`]
    await stage.succeed(regctl, ['registry', 'set', proxy.host, '--tls=disabled', '--skip-check', ...chunked], { env })
    const pushed = await stage.succeed(regctl, ['blob', 'put', `${proxy.host}/resumed`], { env, input: file })
    assert.equal(pushed.trim(), digestOf(file))
    assert.equal(proxy.cuts(), 3)
    const answer = await fetch(`${registry.url}/v2/resumed/blobs/${digestOf(file)}`)
    assert.ok(Buffer.from(await answer.arrayBuffer()).equals(file))
    // Each cut may cost what was on its way, never the whole again.
    const requests = await stage.requests('resumed', ({ method }) => method === 'PUT')
    assert.equal(requests.filter(({ method }) => method === 'POST').length, 1, 'one session')
    assert.ok(
      requests.some(({ method, status }) => method === 'PATCH' && status === 416),
      'the repeated chunk is refused',
    )
  })

  it('copies an image with its referrers, mounting what it can, and lists them by type', async () => {
    const { registry, workspace } = stage
    const content = await contentOf('index')
    const image = `${registry.host}/referred/from:v1`
    await writeLayout(workspace.path('referred'), content, 'v1')
    await ask('image', 'copy', `ocidir://${workspace.path('referred')}:v1`, image)
    for (const type of ['application/vnd.example.sbom', 'application/vnd.example.signature']) {
      const put = ['artifact', 'put', '--artifact-type', type, '--subject', image, '--annotation', 'dev.gantry=yes']
      await stage.succeed(regctl, ['--host', host(image), ...put], { input: type })
    }
    const to = `${registry.host}/referred/to:v1`
    await ask('image', 'copy', '--referrers', image, to)
    await assertStored(registry.url, 'referred/to', content)
    const listed = async (name: string, ...filter: string[]): Promise<string[]> => {
      const format = '{{range .Descriptors}}{{.ArtifactType}} {{.Digest}} {{index .Annotations "dev.gantry"}}\n{{end}}'
      return (await ask('artifact', 'list', name, '--format', format, ...filter)).trim().split('\n').toSorted()
    }
    const both = await listed(image)
    assert.equal(both.length, 2)
    assert.deepEqual(await listed(to), both)
    assert.deepEqual(
      await listed(to, '--filter-artifact-type', 'application/vnd.example.sbom'),
      both.filter((line) => /sbom sha256:\w+ yes/.test(line)),
    )
  })

  it('lists repositories and tags by pages, and deletes a tag without what it names', async () => {
    const { registry, workspace } = stage
    const content = await contentOf('zero')
    const image = `${registry.host}/paged/zero`
    await writeLayout(workspace.path('paged'), content, 'v1')
    const tags = ['a', 'b', 'c', 'd']
    for (const tag of tags) await ask('image', 'copy', `ocidir://${workspace.path('paged')}:v1`, `${image}:${tag}`)
    assert.equal(await ask('tag', 'ls', image), tags.map((tag) => `${tag}\n`).join(''))
    assert.equal(await ask('tag', 'ls', '--limit=2', '--last=b', image), 'c\nd\n')
    assert.match(await ask('repo', 'ls', registry.host), /^paged\/zero$/m)
    await ask('tag', 'delete', `${image}:b`)
    assert.equal(await ask('tag', 'ls', image), 'a\nc\nd\n')
    await assertStored(registry.url, 'paged/zero', content, ['a', 'c', 'd'])
  })
})
