/** The verbs as they are typed, against our own registry. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { accessOf, addUser } from '../server/testing/access.ts'
import { type ServedApp, serveApp } from '../server/testing/served-app.ts'
import { runClientCli } from './cli.ts'

interface Said {
  readonly code: number
  readonly out: string
  readonly notes: string
}

async function gantry(...argv: readonly string[]): Promise<Said> {
  const [out, notes]: [string[], string[]] = [[], []]
  const code = await runClientCli(argv, { line: (text) => void out.push(text), note: (text) => void notes.push(text) })
  return { code, out: out.join('\n'), notes: notes.join('\n') }
}

describe('the command gantry', () => {
  let app: ServedApp
  let host: string
  let folder: string
  const kept = process.env['DOCKER_CONFIG']
  before(async () => {
    app = await serveApp({ access: accessOf() })
    await addUser(app.accounts, 'ada', 'lovelace')
    host = new URL(app.url).host
    folder = await mkdtemp(join(tmpdir(), 'gantry-cli-'))
    process.env['DOCKER_CONFIG'] = folder
  })
  after(async () => {
    if (kept === undefined) delete process.env['DOCKER_CONFIG']
    else process.env['DOCKER_CONFIG'] = kept
    await app[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })

  it('says how to log in to who has not, and lets in who has, until he logs out', async () => {
    const stranger = await gantry('tags', host)
    assert.equal(stranger.code, 1)
    assert.match(stranger.notes, new RegExp(`Log in with \`gantry login ${host}\``))
    const wrong = await gantry('login', '-u', 'ada', '-p', 'byron', host)
    assert.deepEqual([wrong.code, wrong.out], [1, ''])
    assert.match(wrong.notes, /does not accept this user and password/)
    const right = await gantry('login', '-u', 'ada', '-p', 'lovelace', host)
    assert.deepEqual([right.code, right.out], [0, 'Login Succeeded'])
    assert.equal((await gantry('tags', host)).code, 0)
    assert.equal((await gantry('logout', host)).code, 0)
    assert.equal((await gantry('tags', host)).code, 1)
  })
  it('has help with examples for each of its verbs, and loads no other verbs for it', async () => {
    const { out } = await gantry('--help')
    const verbs = [...out.matchAll(/^ {2}([a-z]+)(?:\|\S+)? .*$/gm)].map(([, name = '']) => name)
    assert.ok(verbs.length > 10, out)
    const ours = ['pull', 'images', 'rmi', 'run', 'version', 'login', 'logout', 'tags']
    for (const verb of ours) {
      assert.ok(verbs.includes(verb), verb)
      const help = await gantry(verb, '--help')
      assert.equal(help.code, 0)
      assert.match(help.out, /^Usage: gantry /)
    }
  })
})
