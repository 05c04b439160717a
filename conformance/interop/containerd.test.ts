/** containerd by `ctr`: single-request pushes, mounts, and pulls of one layer by several ranges at a time. */
import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { type Containerd, PIECE_BYTES, startContainerd } from '../support/containerd.ts'
import { startCuttingProxy } from '../support/cutting-proxy.ts'
import { notBuilt } from '../support/go-tools.ts'
import { contentOf, imageOf } from './content.ts'
import { assertStored, type Command, pushOver, relaysEverything } from './moves.ts'
import { openStage } from './stage.ts'

const MIB = 1024 * 1024

describe('containerd', { skip: await notBuilt('ctr', 'containerd'), concurrency: 2 }, async () => {
  const stage = openStage()
  let containerd: Containerd
  before(async () => {
    containerd = stage.cleanup.use(await startContainerd(stage.workspace))
  })
  const command = (...args: string[]): Command => [...containerd.ctr, ...args]
  const ctr = (...args: string[]): Promise<string> => {
    const [program, ...rest] = command(...args)
    return stage.succeed(program, rest)
  }

  await relaysEverything(
    'containerd',
    {
      relay: (from, to) => [
        command('content', 'fetch', '--plain-http', '--all-platforms', from),
        command('image', 'tag', from, to),
        command('image', 'push', '--plain-http', to),
      ],
      cannot: {
        foreign: /layers\.invalid/, // it fetches the layer from where it lies
        zero: /reports content size of zero/,
      },
    },
    () => stage,
  )

  it('pulls and unpacks images, each large layer by several ranges at a time', async () => {
    const { registry } = stage
    const content = await imageOf('ranges', [8 * PIECE_BYTES, 1000])
    await pushOver(registry.url, 'ranges', content)
    await ctr('image', 'pull', '--plain-http', `${registry.host}/ranges:v1`)
    assert.match(await ctr('image', 'ls', `name==${registry.host}/ranges:v1`), new RegExp(content.root.digest))
    await ctr('image', 'check', `name==${registry.host}/ranges:v1`)
    const requests = await stage.requests('ranges', ({ method, path }) => method === 'GET' && /blobs/.test(path))
    const pieces = requests.filter(({ method, status }) => method === 'GET' && status === 206)
    assert.ok(pieces.length >= 8, `${pieces.length} requests for ranges`)
  })

  it('goes on with a pull whose connection was cut', async () => {
    const { registry } = stage
    const content = await imageOf('cut', [6 * MIB])
    await pushOver(registry.url, 'cut', content)
    const port = Number(new URL(registry.url).port)
    await using proxy = await startCuttingProxy(port, { way: 'down', afterBytes: 2 * MIB, times: 2 })
    const [from, to] = [`${proxy.host}/cut:v1`, `${registry.host}/cut-again:v1`]
    await ctr('content', 'fetch', '--plain-http', from)
    assert.equal(proxy.cuts(), 2)
    assert.ok(proxy.bytes('down') < 9 * MIB, `${proxy.bytes('down')} bytes came for 6 MiB`)
    await ctr('image', 'tag', from, to)
    await ctr('image', 'push', '--plain-http', to)
    await assertStored(registry.url, 'cut-again', content)
  })

  it('mounts what another repository of the registry has, instead of sending it', async () => {
    const { registry } = stage
    const content = await contentOf('image')
    await pushOver(registry.url, 'mounted/from', content)
    const [from, to] = [`${registry.host}/mounted/from:v1`, `${registry.host}/mounted/to:v1`]
    await ctr('image', 'pull', '--plain-http', from)
    await ctr('image', 'tag', from, to)
    await ctr('image', 'push', '--plain-http', to)
    await assertStored(registry.url, 'mounted/to', content)
    const requests = await stage.requests(
      'mounted/to',
      ({ method, path }) => method === 'PUT' && /manifests/.test(path),
    )
    assert.deepEqual(
      requests.filter(({ method, path }) => method === 'PUT' && /uploads/.test(path)),
      [],
    )
  })
})
