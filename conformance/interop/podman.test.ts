/** podman and buildah over a store of the test's own: what is pulled is what was pushed, what is built comes back. */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { before, describe, it } from 'node:test'
import { missing } from '../support/needs.ts'
import { allContent, configurationOf, contentOf, noise } from './content.ts'
import { assertStored, pushOver } from './moves.ts'
import { openStage } from './stage.ts'

/** Nothing of the machine's own; no limits raised, which not every container may; no locks in shared memory. */
const containersConf = (folder: string): string => `[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "${folder}/tmp"
`

describe('podman and buildah', { skip: await missing('podman', 'buildah', 'runc') }, async () => {
  const stage = openStage()
  let store: readonly string[]
  let env: NodeJS.ProcessEnv
  before(async () => {
    const folder = stage.workspace.path('podman')
    await mkdir(folder)
    await writeFile(`${folder}/containers.conf`, containersConf(folder))
    store = ['--root', `${folder}/root`, '--runroot', `${folder}/run`, '--storage-driver', 'overlay']
    env = { ...stage.workspace.env, CONTAINERS_CONF: `${folder}/containers.conf`, TMPDIR: folder }
  })
  const podman = (...args: string[]): Promise<string> => stage.succeed('podman', [...store, ...args], { env })
  const buildah = (...args: string[]): Promise<string> => stage.succeed('buildah', [...store, ...args], { env })
  const insecure = '--tls-verify=false'

  for (const content of await allContent()) {
    const configuration = configurationOf(content)
    if (configuration === undefined) continue
    it(`podman pulls ${content.name} by tag and by digest: the image is the one that was pushed`, async () => {
      const { registry } = stage
      const name = `pulled/${content.slug}`
      await pushOver(registry.url, name, content)
      for (const reference of [`${registry.host}/${name}:v1`, `${registry.host}/${name}@${content.root.digest}`]) {
        await podman('pull', '--quiet', insecure, reference)
        const inspect = ['image', 'inspect', '--format', '{{.Id}} {{join .RepoDigests ","}}', reference]
        const [id, digests = ''] = (await podman(...inspect)).trim().split(' ')
        assert.equal(`sha256:${id}`, configuration)
        assert.ok(digests.split(',').includes(`${registry.host}/${name}@${content.root.digest}`), digests)
        await podman('rmi', '--force', reference)
      }
    })
  }

  it('buildah builds, pushes in both formats and with zstd, and gets its files back', async () => {
    const { registry, workspace } = stage
    const file = workspace.path('large')
    await writeFile(file, noise('buildah', 2_000_000))
    const container = (await buildah('from', 'scratch')).trim()
    await buildah('copy', container, file, '/large')
    await buildah('config', '--cmd', '/large', '--label', 'dev.gantry=yes', container)
    await buildah('commit', '--quiet', container, 'local/built')
    await buildah('rm', container)
    const ways = {
      oci: ['--format=oci'],
      docker: ['--format=v2s2'],
      zstd: ['--format=oci', '--compression-format=zstd'],
    }
    for (const [way, options] of Object.entries(ways)) {
      const image = `${registry.host}/built/${way}:v1`
      const digestFile = workspace.path(`digest-${way}`)
      await buildah('push', insecure, '--quiet', '--digestfile', digestFile, ...options, 'local/built', image)
      const digest = await readFile(digestFile, 'utf8')
      const head = await fetch(`${registry.url}/v2/built/${way}/manifests/v1`, { method: 'HEAD' })
      assert.equal(head.headers.get('docker-content-digest'), digest)

      const back = (await buildah('from', insecure, '--pull-always', `${registry.host}/built/${way}@${digest}`)).trim()
      const root = (await buildah('mount', back)).trim()
      assert.ok((await readFile(`${root}/large`)).equals(noise('buildah', 2_000_000)), way)
      await buildah('umount', back)
      await buildah('rm', back)
    }
  })

  it('podman makes a list of images of two repositories and pushes it with all that it names', async () => {
    const { registry } = stage
    const index = await contentOf('index')
    const image = await contentOf('zstd')
    await pushOver(registry.url, 'listed/index', index)
    await pushOver(registry.url, 'listed/image', image)
    await podman('manifest', 'create', 'local/list')
    for (const name of ['index', 'image']) {
      await podman('manifest', 'add', insecure, '--all', 'local/list', `docker://${registry.host}/listed/${name}:v1`)
    }
    const target = `docker://${registry.host}/listed/all:v1`
    await podman('manifest', 'push', '--all', insecure, 'local/list', target)
    await podman('manifest', 'rm', 'local/list')
    const answer = await fetch(`${registry.url}/v2/listed/all/manifests/v1`)
    const { manifests } = (await answer.json()) as { manifests: { digest: string }[] }
    const named = [...index.manifests.keys(), image.root.digest].filter((digest) => digest !== index.root.digest)
    assert.deepEqual(manifests.map(({ digest }) => digest).toSorted(), named.toSorted())
    // Everything but the old index came along, and is what it was.
    const without = new Map([...index.manifests].filter(([digest]) => digest !== index.root.digest))
    await assertStored(registry.url, 'listed/all', { ...index, manifests: without })
    await assertStored(registry.url, 'listed/all', image, [])
    const listed = JSON.parse(
      await podman('search', insecure, '--list-tags', '--format=json', `${registry.host}/listed/all`),
    )
    assert.deepEqual((listed as { Tags: string[] }[])[0]?.Tags, ['v1'])
  })
})
