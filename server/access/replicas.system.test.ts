/** Two replicas over one store, which tell each other nothing: what an operator changes beside them counts on both, within the stated time. */
import assert from 'node:assert/strict'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { hashSync } from 'bcryptjs'
import { openFsDriver } from '../../storage/fs/driver.ts'
import { createRobot, robotId, rotateRobot, setEnabled, userId } from '../account-tasks.ts'
import { accessOf, addUser, basic, bearer, type TokenAnswer } from '../testing/access.ts'
import { type ServedApp, serveApp } from '../testing/served-app.ts'
import { SEEN_WITHIN_MS } from './directory.ts'

const PASSWORD = 'correct horse'
const GRANTS = [{ repositories: 'team/*', actions: ['pull'] }]

let folder: string
let htpasswd: string
let here: ServedApp
let there: ServedApp
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gantry-replicas-'))
  htpasswd = join(folder, 'htpasswd')
  await writeFile(htpasswd, `erin:${hashSync(PASSWORD, 4)}\n`)
  const access = accessOf({ htpasswd })
  here = await serveApp({ access, driver: await openFsDriver(join(folder, 'data')) })
  there = await serveApp({ access, driver: await openFsDriver(join(folder, 'data')) })
})
after(async () => {
  await here[Symbol.asyncDispose]()
  await there[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true, maxRetries: 10 })
})

const records = () => ({ accounts: here.accounts, keys: here.signingKeys })
const seen = (): Promise<void> => delay(SEEN_WITHIN_MS + 200)

/** Given here; used on both, so that both remember it. */
async function loggedIn(login: string, secret: string): Promise<TokenAnswer> {
  const answer = await here.ask('GET', '/token?offline_token=true', { headers: basic(login, secret) })
  assert.equal(answer.status, 200)
  return answer.json() as TokenAnswer
}

/** How the other replica answers a token, a refresh token, and the credentials themselves. */
async function answers({ token, refresh_token = '' }: TokenAnswer, login: string, secret: string): Promise<number[]> {
  const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token }).toString()
  const asked = [
    there.ask('GET', '/v2/', { headers: bearer(token) }),
    there.ask('POST', '/token', { body }),
    there.ask('GET', '/token', { headers: basic(login, secret) }),
  ]
  return (await Promise.all(asked)).map(({ status }) => status)
}

describe('another replica', () => {
  it('keeps out a user and a robot that were disabled, with all that they had', async () => {
    await addUser(here.accounts, 'alice', PASSWORD)
    const secret = await createRobot(records(), robotId('ci'), GRANTS, undefined)
    const [alice, robot] = [await loggedIn('alice', PASSWORD), await loggedIn('robot+ci', secret)]
    assert.deepEqual(await answers(alice, 'alice', PASSWORD), [200, 200, 200])
    assert.deepEqual(await answers(robot, 'robot+ci', secret), [200, 200, 200])
    await setEnabled(records(), userId('alice'), false)
    await setEnabled(records(), robotId('ci'), false)
    await seen()
    assert.deepEqual(await answers(alice, 'alice', PASSWORD), [401, 401, 401])
    assert.deepEqual(await answers(robot, 'robot+ci', secret), [401, 401, 401])
  })

  it('takes both secrets of a robot for the time that was stated, and then the new one alone', async () => {
    const old = await createRobot(records(), robotId('rotated'), GRANTS, undefined)
    const before = await loggedIn('robot+rotated', old)
    const overlapMs = SEEN_WITHIN_MS + 5_000
    const fresh = await rotateRobot(records(), robotId('rotated'), overlapMs, undefined)
    await seen()
    const after = await loggedIn('robot+rotated', fresh)
    assert.deepEqual(await answers(before, 'robot+rotated', old), [200, 200, 200])
    assert.deepEqual(await answers(after, 'robot+rotated', fresh), [200, 200, 200])
    await delay(overlapMs)
    assert.deepEqual(await answers(before, 'robot+rotated', old), [401, 401, 401])
    assert.deepEqual(await answers(after, 'robot+rotated', fresh), [200, 200, 200])
  })

  it('follows the file of htpasswd: a password that was changed there, a name that was taken out', async () => {
    const erin = await loggedIn('erin', PASSWORD)
    assert.deepEqual(await answers(erin, 'erin', PASSWORD), [200, 200, 200])
    await writeFile(`${htpasswd}.new`, `erin:${hashSync('battery staple', 4)}\n`)
    await rename(`${htpasswd}.new`, htpasswd)
    await seen()
    assert.deepEqual(await answers(erin, 'erin', PASSWORD), [401, 401, 401])
    const again = await loggedIn('erin', 'battery staple')
    await writeFile(`${htpasswd}.new`, '')
    await rename(`${htpasswd}.new`, htpasswd)
    await seen()
    assert.deepEqual(await answers(again, 'erin', 'battery staple'), [401, 401, 401])
  })
})
