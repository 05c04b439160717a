import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { clientOf, RateLimit, rateLimited } from './rate-limit.ts'
import { serveApp } from './testing/served-app.ts'

describe('RateLimit', () => {
  it('lets a burst through, then as many as the rate has room for, and says how long to wait', () => {
    const limit = new RateLimit({ requestsPerSecond: 2, burst: 3 })
    assert.deepEqual(
      [1, 2, 3].map(() => limit.take('a', 0)),
      [0, 0, 0],
    )
    assert.equal(limit.take('a', 0), 0.5)
    assert.equal(limit.take('b', 0), 0, 'another client has a bucket of its own')
    assert.equal(limit.take('a', 500), 0)
    assert.equal(limit.take('a', 500), 0.5)
  })

  it('never lets more through in any time than the burst and what the rate brings', () => {
    const pauses = fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 200 })
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 50 }),
        pauses,
        (requestsPerSecond, burst, waits) => {
          const limit = new RateLimit({ requestsPerSecond, burst })
          let now = 0
          let passed = 0
          for (const wait of waits) {
            now += wait
            if (limit.take('a', now) === 0) passed++
          }
          assert.ok(passed <= burst + (now / 1_000) * requestsPerSecond + 1e-6)
        },
      ),
    )
  })

  it('holds for several processes together, once they have heard from each other', () => {
    const here = new RateLimit({ requestsPerSecond: 1, burst: 10, shared: true })
    const there = new RateLimit({ requestsPerSecond: 1, burst: 10, shared: true })
    for (let i = 0; i < 6; i++) here.take('a', 0)
    assert.deepEqual(here.told(), [['a', 6]])
    assert.deepEqual(here.told(), [])
    there.learn([['a', 6]], 0)
    assert.deepEqual(
      [1, 2, 3, 4].map(() => there.take('a', 0)),
      [0, 0, 0, 0],
    )
    assert.ok(there.take('a', 0) > 0)
  })

  it('shuts nobody out for longer than a burst takes to come back', () => {
    const limit = new RateLimit({ requestsPerSecond: 1, burst: 5 })
    limit.learn([['a', 1_000_000]], 0)
    assert.equal(limit.take('a', 6_000), 0)
  })

  it('forgets who has not come for long, instead of growing', () => {
    const limit = new RateLimit({ requestsPerSecond: 0.001, burst: 1 })
    limit.take('first', 0)
    for (let i = 0; i < 50_000; i++) limit.take(`client ${i}`, 0)
    assert.equal(limit.take('first', 0), 0)
    assert.ok(limit.take('client 49999', 0) > 0)
  })
})

describe('clientOf', () => {
  it('is the address, a /64 of IPv6, or all of a unix socket', () => {
    for (const [remote, client] of [
      ['192.0.2.1', '192.0.2.1'],
      ['::ffff:192.0.2.1', '192.0.2.1'],
      ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
      ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
      ['2001:db8::6', '2001:db8:0:0::/64'],
      ['fe80::1%eth0', 'fe80:0:0:0::/64'],
      ['::1', '0:0:0:0::/64'],
      [undefined, 'unix'],
    ] as const)
      assert.equal(clientOf(remote), client)
  })
})

describe('a rate-limited registry', () => {
  it('answers 429 with TOOMANYREQUESTS and Retry-After, and logs it like any request', async () => {
    const admit = rateLimited(new RateLimit({ requestsPerSecond: 0.1, burst: 2 }))
    await using app = await serveApp({ admit })
    assert.equal((await app.ask('GET', '/v2/')).status, 200)
    assert.equal((await app.ask('GET', '/v2/')).status, 200)
    const refused = await app.ask('GET', '/v2/')
    assert.equal(refused.status, 429)
    assert.equal(refused.errorCode(), 'TOOMANYREQUESTS')
    assert.match(refused.headers['retry-after'] ?? '', /^(9|10)$/)
    assert.equal(refused.headers['docker-distribution-api-version'], 'registry/2.0')
    assert.deepEqual(
      app.logged.map(({ status }) => status),
      [200, 200, 429],
    )
  })
})
