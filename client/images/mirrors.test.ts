/** The user's file about registries, and mirrors that are tried before them. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { contentOf } from '../../conformance/interop/content.ts'
import { pushOver } from '../../conformance/interop/moves.ts'
import { type ServedApp, serveApp } from '../../server/testing/served-app.ts'
import { openMirrored } from '../registry/registry-access.ts'
import { parseSettings } from '../registry/settings-file.ts'
import { between, type Treatment } from '../testing/between.ts'
import { copyContent } from './copy.ts'
import { Layout } from './layout.ts'

describe('the file about registries', () => {
  const refused = (text: string, expected: RegExp): void =>
    assert.throws(() => parseSettings(text, 'client.yaml'), expected)
  it('may be empty', () => assert.deepEqual(parseSettings('', 'client.yaml'), { registries: {} }))
  it('is refused with the place and what is wrong there', () => {
    refused(
      'registries: { a.example: { miror: [] } }',
      /client\.yaml is not as it should be:\n {2}registries\.a\.example: .*miror/,
    )
    refused('registries: { a.example: { mirrors: ["http://b"] } }', /mirrors\.0: must be HOST\[:PORT\] or/)
    refused('registries: { "not a host": {} }', /is no registry: write HOST/)
    refused('registries: [', /is not YAML/)
  })
})

describe('a mirror', () => {
  let mirror: ServedApp
  let registry: ServedApp
  let folder: string
  before(async () => {
    ;[mirror, registry] = await Promise.all([serveApp(), serveApp()])
    folder = await mkdtemp(join(tmpdir(), 'gantry-mirrors-'))
    const content = await contentOf('image')
    await pushOver(registry.url, 'team/app', content)
    await pushOver(mirror.url, 'cache/team/app', content)
  })
  after(async () => {
    await Promise.all([mirror[Symbol.asyncDispose](), registry[Symbol.asyncDispose]()])
    await rm(folder, { recursive: true, force: true })
  })

  /** Resolves to what was asked of the registry itself. */
  async function copying(treat?: () => Treatment, reference = 'v1'): Promise<{ own: number; mirrored: number }> {
    await using nearby = await between(mirror.url, treat)
    await using far = await between(registry.url)
    const settings = join(folder, 'client.yaml')
    await writeFile(settings, JSON.stringify({ registries: { [far.host]: { mirrors: [`${nearby.host}/cache`] } } }))
    const environment = { HOME: folder, GANTRY_CLIENT_CONFIG: settings }
    const options = { environment, transport: { backOffMs: 1 } }
    await using from = await openMirrored(far.host, 'team/app', options)
    const to = new Layout(await mkdtemp(join(folder, 'to-')))
    await copyContent({ from, reference, to, toReference: 'v1' })
    return { own: far.requests.length, mirrored: nearby.requests.length }
  }
  it('that has everything keeps all requests from the registry', async () => {
    const { own, mirrored } = await copying()
    assert.equal(own, 0)
    assert.ok(mirrored > 3)
  })
  it('that is broken is passed over', async () => {
    assert.ok((await copying(() => ({ status: 500 }))).own > 3)
  })
  it('that breaks in the middle of a layer is gone on from, by the registry', async () => {
    const { own, mirrored } = await copying(() => ({ cutAnswerAfterBytes: 1000 }))
    assert.ok(own > 0 && mirrored > 0)
  })
  it('that lacks it is passed over, and the registry has the last word', async () => {
    await assert.rejects(copying(undefined, 'v2'), /team\/app has no tag "v2"[\s\S]*its mirrors before/)
  })
})
