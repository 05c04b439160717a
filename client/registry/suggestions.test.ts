import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { serveApp } from '../../server/testing/served-app.ts'
import { RegistryRepository } from './registry.ts'
import { nearest } from './suggestions.ts'
import { Transport } from './transport.ts'

describe('who asks for a tag that is not there', () => {
  const TAGS = ['1.0', '1.1', '1.2', 'latest', 'nightly', 'v2.0-alpine']
  it('is told those that are nearest', () => {
    assert.deepEqual(nearest('lates', TAGS), ['latest'])
    assert.deepEqual(nearest('1.3', TAGS), ['1.0', '1.1', '1.2'])
    assert.deepEqual(nearest('Nigthly', TAGS), ['nightly'])
    assert.deepEqual(nearest('v2.0', TAGS)[0], 'v2.0-alpine')
  })
  it('is told the last ones where none is near', () =>
    assert.deepEqual(nearest('something-else', TAGS), ['latest', 'nightly', 'v2.0-alpine']))
  it('is never told what is not there', () =>
    fc.assert(
      fc.property(
        fc.string({ maxLength: 20 }),
        fc.array(fc.string({ maxLength: 20 }), { maxLength: 30 }),
        (wanted, tags) => nearest(wanted, tags).every((each) => tags.includes(each)),
      ),
    ))

  it('hears it from the registry, and where to look on', async () => {
    await using app = await serveApp({ references: 'sparse' })
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [],
    })
    const headers = { 'Content-Type': 'application/vnd.oci.image.index.v1+json' }
    await app.ask('PUT', '/v2/team/app/manifests/stable', { headers, body: manifest })
    await using transport = new Transport(new URL(app.url).host)
    const wrong = new RegistryRepository(transport, 'team/app').manifest('stabel')
    await assert.rejects(
      wrong,
      /has no tag "stabel"\. The nearest are: stable; `gantry tags 127\.0\.0\.1:\d+\/team\/app` lists all/,
    )
    const nowhere = new RegistryRepository(transport, 'team/ap').manifest('stable')
    await assert.rejects(nowhere, /no repository of that name that you may pull from; `gantry tags 127/)
  })
})
