/** docker: Debian's daemon with every client on the machine; what others pushed, what it builds, lists, and cut pulls. */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { before, describe, it } from 'node:test'
import { startCuttingProxy } from '../support/cutting-proxy.ts'
import { type Dockerd, startDockerd } from '../support/dockerd.ts'
import { missing } from '../support/needs.ts'
import { allContent, configurationOf, imageOf, noise } from './content.ts'
import { pushOver } from './moves.ts'
import { openStage } from './stage.ts'

const MIB = 1024 * 1024

describe('docker', { skip: await missing('docker', 'dockerd', 'containerd', 'runc') }, async () => {
  const stage = openStage()
  let dockerd: Dockerd
  before(async () => {
    dockerd = stage.cleanup.use(await startDockerd(stage.workspace))
  })
  const idOf = async (image: string): Promise<string> =>
    (await dockerd.docker(['image', 'inspect', '--format', '{{.Id}}', image])).trim()

  for (const content of await allContent()) {
    const configuration = configurationOf(content)
    if (configuration === undefined || content.slug === 'zstd') continue // this daemon is older than its zstd
    it(`pulls ${content.name} by tag and by digest: the image is the one that was pushed`, async () => {
      const { registry } = stage
      await pushOver(registry.url, `pulled/${content.slug}`, content)
      const name = `${registry.host}/pulled/${content.slug}`
      for (const reference of [`${name}:v1`, `${name}@${content.root.digest}`]) {
        const said = await dockerd.docker(['pull', reference])
        assert.match(said, new RegExp(`Digest: ${content.root.digest}`))
        assert.equal(await idOf(reference), configuration)
        await dockerd.docker(['rmi', '--force', configuration])
      }
    })
  }

  it('every client pushes what the classic builder made, a second time by mounting, and pulls it back', async (t) => {
    const { registry, workspace } = stage
    for (const [index, client] of dockerd.clients.entries()) {
      t.diagnostic((await dockerd.docker(['--version'], client)).trim())
      const context = workspace.path(`context-${index}`)
      await mkdir(context)
      await writeFile(`${context}/file`, noise(`docker ${index}`, 100_000))
      await writeFile(`${context}/Dockerfile`, 'FROM scratch\nCOPY file /file\nLABEL dev.gantry=yes\nCMD ["/file"]\n')
      const [first, second] = [1, 2].map((number) => `${registry.host}/built/${index}/${number}`) as [string, string]
      await dockerd.docker(['build', '--quiet', '--tag', first, context], client)
      await dockerd.docker(['tag', first, second], client)
      const id = await idOf(first)
      const digest = digestIn(await dockerd.docker(['push', first], client))
      const said = await dockerd.docker(['push', second], client)
      assert.match(said, new RegExp(`Mounted from built/${index}/1`))
      assert.equal(digestIn(said), digest)
      await dockerd.docker(['rmi', '--force', id], client)
      await dockerd.docker(['pull', `${second}@${digest}`], client)
      assert.equal(await idOf(`${second}@${digest}`), id)
    }
  })

  it('every client makes a manifest list and reads it back', async () => {
    const { registry } = stage
    const images = await Promise.all(['amd64', 'arm64'].map((platform) => imageOf(`docker ${platform}`, [1000], true)))
    for (const [index, client] of dockerd.clients.entries()) {
      const name = `listed/${index}`
      for (const [at, image] of images.entries()) await pushOver(registry.url, name, image, `image-${at}`)
      const list = `${registry.host}/${name}:all`
      const parts = images.map((_, at) => `${registry.host}/${name}:image-${at}`)
      await dockerd.docker(['manifest', 'create', '--insecure', list, ...parts], client)
      await dockerd.docker(['manifest', 'annotate', '--arch', 'arm64', '--variant', 'v8', list, parts[1] ?? ''], client)
      const digest = (await dockerd.docker(['manifest', 'push', '--insecure', '--purge', list], client)).trim()
      const head = await fetch(`${registry.url}/v2/${name}/manifests/all`, { method: 'HEAD' })
      assert.equal(head.headers.get('docker-content-digest'), digest)
      const inspected = await dockerd.docker(['manifest', 'inspect', '--insecure', list], client)
      const { manifests } = JSON.parse(inspected) as { manifests: { digest: string }[] }
      assert.deepEqual(
        manifests.map((manifest) => manifest.digest),
        images.map(({ root }) => root.digest),
      )
    }
  })

  it('goes on with a pull whose connection was cut, from the byte where it was', async () => {
    const { registry } = stage
    const content = await imageOf('docker cut', [6 * MIB])
    await pushOver(registry.url, 'cut', content)
    const port = Number(new URL(registry.url).port)
    await using proxy = await startCuttingProxy(port, { way: 'down', afterBytes: 2 * MIB, times: 1 })
    await dockerd.docker(['pull', `${proxy.host}/cut:v1`])
    assert.equal(await idOf(`${proxy.host}/cut:v1`), configurationOf(content))
    assert.equal(proxy.cuts(), 1)
    assert.ok(proxy.bytes('down') < 8 * MIB, `${proxy.bytes('down')} bytes came for 6 MiB`)
    await stage.requests('cut', ({ status }) => status === 206)
  })
})

const digestIn = (said: string): string =>
  /digest: (sha256:\w+)/.exec(said)?.[1] ?? assert.fail(`no digest in: ${said}`)
