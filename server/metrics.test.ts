import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { RequestReport } from './access-log.ts'
import { Metrics, printMetrics } from './metrics.ts'
import { pushBlob, pushManifest, someBytes } from './testing/content.ts'
import { serveApp } from './testing/served-app.ts'

/** Lines of the exposition, by name and labels. */
async function valuesOf(...all: readonly Metrics[]): Promise<Map<string, number>> {
  const text = await printMetrics(await Promise.all(all.map((metrics) => metrics.snapshot())))
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}

const REPORT: RequestReport = {
  id: 'x',
  method: 'GET',
  path: '/v2/secret/name/blobs/sha256:abc',
  route: '/v2/:name/blobs/:digest',
  status: 200,
  finished: true,
  cut: undefined,
  bytesIn: 0,
  bytesOut: 10,
  durationMs: 2,
  repository: undefined,
  remote: '192.0.2.1',
  agent: undefined,
  subject: undefined,
  client: undefined,
  claims: undefined,
  proves: false,
}

describe('Metrics', () => {
  it('counts what a push and a pull do', async () => {
    const metrics = new Metrics()
    await using app = await serveApp({ observers: [metrics] })
    const digest = await pushBlob(app, 'a/b', someBytes(1_000))
    await pushManifest(app, 'a/b', 'latest')
    await app.ask('GET', `/v2/a/b/blobs/${digest}`)
    await app.ask('HEAD', `/v2/a/b/blobs/${digest}`)
    await app.ask('GET', '/nowhere')
    const values = await valuesOf(metrics)
    assert.equal(values.get('gantry_http_requests_total{route="/v2/:name/blobs/:digest",method="GET",status="2xx"}'), 1)
    assert.equal(
      values.get('gantry_http_requests_total{route="/v2/:name/manifests/:reference",method="PUT",status="2xx"}'),
      1,
    )
    assert.equal(values.get('gantry_http_requests_total{route="none",method="GET",status="4xx"}'), 1)
    assert.equal(values.get('gantry_http_requests_running'), 0)
    assert.equal(values.get('gantry_upload_bytes_total'), 1_002)
    assert.equal(values.get('gantry_blob_requests_total{operation="read",status="2xx"}'), 1)
    assert.ok((values.get('gantry_blob_sent_bytes_total') ?? 0) >= 1_000)
  })

  it('has no more series than routes, verbs and classes of status, whatever clients send', async () => {
    const metrics = new Metrics()
    metrics.began()
    metrics.ended(REPORT)
    const before = (await valuesOf(metrics)).size
    for (let i = 0; i < 1_000; i++) {
      metrics.began()
      metrics.ended({
        ...REPORT,
        path: `/v2/r${i}/blobs/x`,
        status: 200 + (i % 100),
        method: i % 2 === 0 ? 'GET' : 'HEAD',
      })
    }
    for (const method of ['PROPFIND', 'MKCOL', 'BREW']) {
      metrics.began()
      metrics.ended({ ...REPORT, route: undefined, method })
    }
    const values = await valuesOf(metrics)
    assert.ok(values.size < before + 100, `${values.size - before} new series`)
    assert.doesNotMatch([...values.keys()].join('\n'), /secret|r999|192\.0\.2\.1|BREW/)
  })

  it('adds processes up', async () => {
    const [one, two] = [new Metrics(), new Metrics()]
    for (const metrics of [one, two, two]) {
      metrics.began()
      metrics.ended(REPORT)
    }
    const values = await valuesOf(one, two)
    assert.equal(values.get('gantry_http_requests_total{route="/v2/:name/blobs/:digest",method="GET",status="2xx"}'), 3)
    assert.equal(
      values.get('gantry_http_request_duration_seconds_count{route="/v2/:name/blobs/:digest",method="GET"}'),
      3,
    )
  })
})
