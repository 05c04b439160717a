import assert from 'node:assert/strict'
import { resolve } from 'node:path'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { readServeSettings, SettingsInvalid } from './settings.ts'

describe('readServeSettings', () => {
  it('serves this machine over ./gantry-data when told nothing', () => {
    assert.deepEqual(readServeSettings({}, {}), {
      host: '127.0.0.1',
      port: 5000,
      dataDirectory: resolve('gantry-data'),
      graceMs: 10_000,
      references: 'sparse-index',
    })
  })
  it('lets flags win over the environment', () => {
    const env = { GANTRY_LISTEN: '127.0.0.1:1', GANTRY_DATA: '/env' }
    assert.equal(readServeSettings({}, env).port, 1)
    assert.equal(readServeSettings({}, env).dataDirectory, '/env')
    const settings = readServeSettings({ listen: '[::1]:2', data: '/flag' }, env)
    assert.deepEqual([settings.host, settings.port, settings.dataDirectory], ['::1', 2, '/flag'])
  })
  it('names every problem, with what would be right', () => {
    assert.throws(
      () => readServeSettings({ data: '', stopTimeout: 'soon' }, { GANTRY_LISTEN: '5000' }),
      (error: unknown) =>
        error instanceof SettingsInvalid &&
        /GANTRY_LISTEN: "5000" is not an address; expected HOST:PORT/.test(error.message) &&
        /--data: expected the path/.test(error.message) &&
        /--stop-timeout: "soon"/.test(error.message),
    )
  })
  it('refuses to be reached from other machines unless that is wanted', () => {
    for (const listen of ['0.0.0.0:5000', '[::]:5000', '192.0.2.1:80', 'registry.example:80']) {
      assert.throws(() => readServeSettings({ listen }, {}), /--allow-anonymous/, listen)
      assert.doesNotThrow(() => readServeSettings({ listen, allowAnonymous: true }, {}))
    }
    for (const listen of ['127.0.0.1:0', '127.1.2.3:5000', 'localhost:5000', '[::1]:5000'])
      readServeSettings({ listen }, {})
  })
  it('never takes a strange address, and never fails in another way', () => {
    fc.assert(
      fc.property(fc.string(), (listen) => {
        try {
          assert.match(listen, new RegExp(`:0*${readServeSettings({ listen, allowAnonymous: true }, {}).port}$`))
        } catch (error) {
          assert.ok(error instanceof SettingsInvalid)
        }
      }),
    )
  })
})
