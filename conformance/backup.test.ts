/** A backup beside a registry that takes pushes, moves and deletions, restored to another place and pulled from there. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Content, imageOf } from './interop/content.ts'
import { assertStored, pushOver } from './interop/moves.ts'
import { gantry, type ServedRegistry, startGantry } from './support/gantry-serve.ts'
import { notBuilt } from './support/go-tools.ts'
import { startS3 } from './support/s3-server.ts'
import { Workspace } from './support/workspace.ts'

interface Pushed {
  readonly name: string
  readonly tag: string
  readonly content: Content
}

/** Pushes, moves a tag and deletes until it is told to stop, through HTTP as clients do. */
async function workUntil(isOver: () => boolean, { url }: ServedRegistry, who: string): Promise<number> {
  let n = 0
  for (; !isOver(); n += 1) {
    const content = await imageOf(`${who} ${n % 7}`, [5_000, 70_000])
    const name = `busy/${who}-${n % 2}`
    await pushOver(url, name, content, `t${n % 3}`)
    await pushOver(url, name, content, 'moving')
    if (n % 3 === 2) await fetch(`${url}/v2/${name}/manifests/${content.root.digest}`, { method: 'DELETE' })
    if (n % 3 === 1) await fetch(`${url}/v2/${name}/manifests/t${n % 3}`, { method: 'DELETE' })
  }
  return n
}

/** All that is listed, each tag with every byte of its content. */
async function pullEverything(url: string): Promise<readonly string[]> {
  const found: string[] = []
  const { repositories } = (await (await fetch(`${url}/v2/_catalog?n=1000`)).json()) as { repositories: string[] }
  for (const name of repositories) {
    const { tags } = (await (await fetch(`${url}/v2/${name}/tags/list`)).json()) as { tags: string[] }
    for (const tag of tags) {
      const manifest = await fetch(`${url}/v2/${name}/manifests/${tag}`)
      assert.equal(manifest.status, 200, `${name}:${tag} is listed`)
      const { config, layers } = (await manifest.json()) as { config: { digest: string }; layers: { digest: string }[] }
      for (const { digest } of [config, ...layers]) {
        const blob = await fetch(`${url}/v2/${name}/blobs/${digest}`)
        assert.equal(blob.status, 200, `${name}:${tag} has ${digest}`)
        assert.equal((await blob.arrayBuffer()).byteLength, Number(blob.headers.get('content-length')))
      }
      found.push(`${name}:${tag}`)
    }
  }
  return found
}

const noS3 = await notBuilt('versitygw')

describe('gantry storage backup', () => {
  for (const [from, to, skip] of [
    ['a disk', 'a disk', false],
    ['a disk', 'a bucket', noS3],
    ['a bucket', 'a disk', noS3],
  ] as const) {
    it(`of ${from} to ${to} restores whatever was acknowledged before, and copies the next time what is new`, {
      skip,
    }, async () => {
      await using workspace = await Workspace.open()
      await using s3 = from === to ? undefined : await startS3()
      const inBucket = (prefix: string): NodeJS.ProcessEnv => ({ ...process.env, ...s3?.env(prefix) })
      const sourceEnv = from === 'a bucket' ? inBucket('source') : process.env
      await using source = await startGantry({ dataDirectory: workspace.path('source'), env: sourceEnv })
      const bucket = ['--dest-endpoint', s3?.endpoint ?? '']
      const [dest, flags] =
        to === 'a bucket' ? [`s3://${inBucket('')['GANTRY_S3_BUCKET']}/copy`, bucket] : [workspace.path('copy'), []]
      const env = { ...inBucket('source'), ...(from === 'a bucket' ? {} : { GANTRY_STORAGE: 'filesystem' }) }
      const backUp = async (): Promise<Record<string, number>> => {
        const args = ['storage', 'backup', dest, '--json', '--data', workspace.path('source'), ...flags]
        return (JSON.parse(await gantry(args, { env })) as { copied: Record<string, number> }).copied
      }

      const before: Pushed[] = []
      for (const n of [1, 2, 3]) {
        const pushed = {
          name: 'quiet/images',
          tag: `v${n}`,
          content: await imageOf(`quiet ${n}`, [9_000 * n, 1_500_000]),
        }
        await pushOver(source.url, pushed.name, pushed.content, pushed.tag)
        before.push(pushed)
      }
      let over = false
      const working = Promise.all(['a', 'b'].map((who) => workUntil(() => over, source, who)))
      await backUp().finally(() => {
        over = true
      })
      const steps = await working
      assert.ok(Math.min(...steps) > 2, `${steps}`)

      const restoredEnv = to === 'a bucket' ? inBucket('copy') : process.env
      const restore = (): Promise<ServedRegistry> =>
        startGantry({ dataDirectory: workspace.path('copy'), env: restoredEnv })
      {
        await using restored = await restore()
        await pullEverything(restored.url)
        for (const { name, tag, content } of before) await assertStored(restored.url, name, content, [tag])
      }

      await backUp()
      await pushOver(source.url, 'quiet/images', await imageOf('quiet 4', [12_345]), 'v4')
      const { blobs, manifests, tags } = await backUp()
      assert.deepEqual({ blobs, manifests, tags }, { blobs: 2, manifests: 1, tags: 1 })
      await using restored = await restore()
      assert.deepEqual(await pullEverything(restored.url), await pullEverything(source.url))
    })
  }

  it('refuses to copy a store onto itself, or onto another one', async () => {
    await using workspace = await Workspace.open()
    const [one, other] = [workspace.path('one'), workspace.path('other')]
    for (const data of [one, other]) await gantry(['storage', 'probe', '--data', data])
    await gantry(['repo', 'list', '--data', one])
    await gantry(['repo', 'list', '--data', other])
    await assert.rejects(gantry(['storage', 'backup', one, '--data', one]), /is where the registry itself is/)
    await assert.rejects(gantry(['storage', 'backup', other, '--data', one]), /the destination holds another registry/)
  })
})
