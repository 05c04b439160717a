/** Logs are written at once, and wait for no disk: the event loop that writes them is the one that serves. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { openLogs } from './log.ts'

const LOG = JSON.stringify(new URL('log.ts', import.meta.url).href)

test('lines of a turn are in the file when it is over, and nothing was synced', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-log-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const syncs = t.mock.method(fs, 'fsyncSync')
  const writes = t.mock.method(fs, 'writeSync')
  const path = join(folder, 'access.log')
  const { access } = openLogs({ accessLog: path, auditLog: 'off' })
  access?.infoJson('"status":200', 'request')
  access?.infoJson('"status":404', 'request')
  await turn()
  await turn()
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { status: number }).status),
    [200, 404],
  )
  assert.equal(writes.mock.callCount(), 1)
  assert.equal(syncs.mock.callCount(), 0)
})

test('a full disk under the access log is told in the log, and ends nothing', async () => {
  const program = `
    import { setImmediate as turn } from 'node:timers/promises'
    import { openLogs } from ${LOG}
    const { access } = openLogs({ accessLog: '/dev/full', auditLog: 'off' })
    for (let line = 0; line < 3; line += 1) {
      access.infoJson('"status":200', 'request')
      await turn()
      await turn()
    }
    console.log('alive')`
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program])
  assert.equal(stdout, 'alive\n')
  assert.match(stderr, /"code":"ENOSPC".*the access log cannot be written/)
})
