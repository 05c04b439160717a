/** cosign: signatures and attestations, as tags beside the image and as its referrers; with a key of the test's own, no log. */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { before, describe, it } from 'node:test'
import { goTool, notBuilt } from '../support/go-tools.ts'
import { contentOf } from './content.ts'
import { assertStored, pushOver } from './moves.ts'
import { openStage } from './stage.ts'

const cosign = goTool('cosign')
const ALLOW_HTTP = '--allow-http-registry'

describe('cosign', { skip: await notBuilt('cosign') }, () => {
  const stage = openStage()
  let cwd: string
  before(async () => {
    cwd = stage.workspace.path('keys')
    await mkdir(cwd)
    await run({}, 'generate-key-pair')
  })

  const run = (more: NodeJS.ProcessEnv, ...args: string[]): Promise<string> =>
    stage.succeed(cosign, args, { cwd, env: { ...stage.workspace.env, COSIGN_PASSWORD: 'secret', ...more } })

  it('signs and attests by tags beside the image, verifies, and copies all of it', async () => {
    const { registry } = stage
    const content = await contentOf('index')
    await pushOver(registry.url, 'signed', content)
    const image = `${registry.host}/signed@${content.root.digest}`
    const key = ['--key', 'cosign.key', '--tlog-upload=false', '--yes', ALLOW_HTTP]
    const verify = ['--key', 'cosign.pub', '--insecure-ignore-tlog', ALLOW_HTTP]
    await run({}, 'sign', ...key, '--recursive', image)
    await writeFile(`${cwd}/predicate.json`, '{"tested":true}')
    await run({}, 'attest', ...key, '--predicate', 'predicate.json', '--type', 'custom', image)
    assert.match(await run({}, 'verify', ...verify, image), new RegExp(content.root.digest))
    for (const digest of content.manifests.keys())
      await run({}, 'verify', ...verify, `${registry.host}/signed@${digest}`)
    await run({}, 'verify-attestation', ...verify, '--type', 'custom', image)

    const copy = `${registry.host}/signed-copy:v1`
    await run({}, 'copy', ALLOW_HTTP, image, copy)
    await assertStored(registry.url, 'signed-copy', content)
    await run({}, 'verify', ...verify, copy)
    await run({}, 'verify-attestation', ...verify, '--type', 'custom', copy)

    await run({}, 'clean', ALLOW_HTTP, '--force', copy)
    await assert.rejects(run({}, 'verify', ...verify, copy), /no signatures found/)
    await assertStored(registry.url, 'signed-copy', content)
  })

  it('signs by a referrer, which the registry lists under the image', async () => {
    const { registry } = stage
    const content = await contentOf('image')
    await pushOver(registry.url, 'referred', content)
    const image = `${registry.host}/referred@${content.root.digest}`
    const env = { COSIGN_EXPERIMENTAL: '1' }
    const key = ['--key', 'cosign.key', '--tlog-upload=false', '--yes', '--registry-referrers-mode=oci-1-1', ALLOW_HTTP]
    await run(env, 'sign', ...key, image)
    const answer = await fetch(`${registry.url}/v2/referred/referrers/${content.root.digest}`)
    const { manifests } = (await answer.json()) as { manifests: { artifactType: string }[] }
    assert.deepEqual(
      manifests.map(({ artifactType }) => artifactType),
      ['application/vnd.dev.cosign.artifact.sig.v1+json'],
    )
    const verify = ['--key', 'cosign.pub', '--insecure-ignore-tlog', '--experimental-oci11', ALLOW_HTTP]
    assert.match(await run(env, 'verify', ...verify, image), new RegExp(content.root.digest))
    const tags = (await (await fetch(`${registry.url}/v2/referred/tags/list`)).json()) as { tags: string[] }
    assert.deepEqual(tags.tags, ['v1'], 'no tag is needed for it')
  })
})
