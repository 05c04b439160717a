import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { cgroupsPath, hasUserSystemd } from './cgroups-path.ts'

describe('the control groups of a container', () => {
  it('are the runtime’s own where nothing is said', () => {
    assert.equal(cgroupsPath({ id: 'c1', byUserSystemd: false }), undefined)
  })

  it('are below the parent that is named', () => {
    assert.equal(cgroupsPath({ id: 'c1', parent: 'mine/too', byUserSystemd: false }), '/mine/too/c1')
    assert.equal(cgroupsPath({ id: 'c1', parent: '/a.slice/b', byUserSystemd: true }), '/a.slice/b/c1')
  })

  it('are a scope of systemd’s in the slice that is named', () => {
    assert.equal(cgroupsPath({ id: 'c1', parent: 'a-b.slice', byUserSystemd: false }), 'a-b.slice:gantry:c1')
  })

  it('are an ordinary user’s by his own systemd, where there is one', () => {
    assert.equal(cgroupsPath({ id: 'c1', byUserSystemd: true }), ':gantry:c1')
    assert.equal(hasUserSystemd({}), false)
    assert.equal(hasUserSystemd({ XDG_RUNTIME_DIR: '/nowhere' }), false)
  })
})
