/**
 * The same question for every client that copies between a layout on disk and a registry: does each kind of content go in
 * and come back as it was? The registry is looked at between the two, byte by byte, by us.
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { it } from 'node:test'
import { allContent, type Content, digestOf, type Slug, writeLayout } from './content.ts'
import type { Stage } from './stage.ts'

const TAG = 'v1'

export type Command = readonly [program: string, ...args: string[]]

export interface Mover {
  /** From the layout in a folder, where the content is tagged `v1`, to `host/name`; the tag is `v1` unless `byDigest`. */
  push(layout: string, image: string, byDigest: boolean): Command
  /** From `host/name:v1` or `host/name@digest` to a layout in a folder that does not exist. */
  pull(image: string, layout: string): Command
  /** By kind of content: what the client itself cannot do, whatever the registry, and what it says then. */
  readonly cannot: { readonly push: Refusals; readonly pull: Refusals }
}

type Refusals = Readonly<Partial<Record<Slug, RegExp>>>

/** Declares a test for each kind of content. `stage` answers once the tests run. */
export async function movesEverything(client: string, mover: Mover, stage: () => Stage): Promise<void> {
  for (const content of await allContent()) {
    const { push: noPush, pull: noPull } = {
      push: mover.cannot.push[content.slug],
      pull: mover.cannot.pull[content.slug],
    }
    const title = noPush
      ? 'is more than it can push'
      : noPull
        ? 'goes in; to pull it is more than it can'
        : 'goes in and comes back'
    it(`${content.name} ${title}`, async () => {
      const { registry, workspace } = stage()
      const name = `${client}/${content.slug}`
      const [from, to] = [workspace.path(client, content.slug, 'from'), workspace.path(client, content.slug, 'to')]
      await writeLayout(from, content, TAG)
      // Without an algorithm in the request a tag gets the digest in sha256, so that the other ones are pushed by digest.
      const byDigest = !content.root.digest.startsWith('sha256:')
      const image = `${registry.host}/${name}${byDigest ? `@${content.root.digest}` : `:${TAG}`}`

      const pushed = await stage().run(...program(mover.push(from, image, byDigest)))
      const said = `${pushed.stdout}${pushed.stderr}\n${await stage().said()}`
      if (noPush) {
        assert.notEqual(pushed.code, 0, `it can push this by now: ${said}`)
        return assert.match(pushed.stdout + pushed.stderr, noPush)
      }
      assert.equal(pushed.code, 0, said)
      await assertStored(registry.url, name, content, byDigest ? [] : [TAG])

      const pulled = await stage().run(...program(mover.pull(image, to)))
      if (noPull) {
        assert.notEqual(pulled.code, 0, 'it can pull this by now')
        return assert.match(pulled.stdout + pulled.stderr, noPull)
      }
      assert.equal(pulled.code, 0, `${pulled.stdout}${pulled.stderr}\n${await stage().said()}`)
      await assertLayout(to, content)
    })
  }
}

export interface Relay {
  /** Commands one after the other: from `host/name:v1` into the client's own store, and from there to the other image. */
  relay(from: string, to: string): readonly Command[]
  /** What the client cannot take in or give out, whatever the registry, and what it says then. */
  readonly cannot: Refusals
}

/** The same for clients with a store of their own: what they pull from one repository they push to another. */
export async function relaysEverything(client: string, { relay, cannot }: Relay, stage: () => Stage): Promise<void> {
  for (const content of await allContent()) {
    const refusal = cannot[content.slug]
    it(`${content.name} ${refusal ? 'is more than it can relay' : 'comes out and goes in again'}`, async () => {
      const { registry } = stage()
      const [from, to] = ['from', 'to'].map((end) => `${client}/${end}/${content.slug}`) as [string, string]
      await pushOver(registry.url, from, content)
      const byDigest = !content.root.digest.startsWith('sha256:')
      const target = `${registry.host}/${to}${byDigest ? `@${content.root.digest}` : `:${TAG}`}`
      const source = `${registry.host}/${from}${byDigest ? `@${content.root.digest}` : `:${TAG}`}`
      let said = ''
      let failed = false
      for (const command of relay(source, target)) {
        const { code, stdout, stderr } = await stage().run(...program(command))
        said += `${command.join(' ')}: exit code ${code}\n${stdout}${stderr}`
        failed ||= code !== 0
        if (failed) break
      }
      if (refusal) {
        assert.ok(failed, `it can relay this by now: ${said}`)
        return assert.match(said, refusal)
      }
      assert.ok(!failed, `${said}\n${await stage().said()}`)
      await assertStored(registry.url, to, content, byDigest ? [] : [TAG])
    })
  }
}

const program = ([name, ...args]: Command): [string, string[]] => [name, args]

/** Everything that `content` is made of lies in the repository `name`, each under its digest and the root under the tags. */
export async function assertStored(
  url: string,
  name: string,
  content: Content,
  tags: readonly string[] = [TAG],
): Promise<void> {
  for (const [digest, { mediaType, bytes }] of content.manifests) {
    for (const reference of digest === content.root.digest ? [digest, ...tags] : [digest]) {
      const answer = await fetch(`${url}/v2/${name}/manifests/${reference}`, { headers: { Accept: mediaType } })
      assert.equal(answer.status, 200, `${name} has no ${reference}`)
      assert.equal(answer.headers.get('content-type'), mediaType)
      const got = Buffer.from(await answer.arrayBuffer())
      assert.ok(got.equals(bytes), `${reference} is ${digestOf(got)}`)
    }
  }
  for (const [digest, bytes] of content.blobs) {
    const answer = await fetch(`${url}/v2/${name}/blobs/${digest}`)
    assert.equal(answer.status, 200, `${name} has no ${digest}`)
    const got = Buffer.from(await answer.arrayBuffer())
    assert.ok(got.equals(bytes), `${digest} is ${digestOf(got)}`)
  }
}

/** The layout in `directory` has `content` as a root, and every part of it. */
export async function assertLayout(directory: string, content: Content): Promise<void> {
  const index = JSON.parse(await readFile(join(directory, 'index.json'), 'utf8')) as { manifests: { digest: string }[] }
  assert.ok(
    index.manifests.some(({ digest }) => digest === content.root.digest),
    `${content.root.digest} is not the root`,
  )
  const files = [...content.blobs, ...[...content.manifests].map(([digest, { bytes }]) => [digest, bytes] as const)]
  for (const [digest, bytes] of files) {
    const got = await readFile(join(directory, 'blobs', ...digest.split(':')))
    assert.ok(got.equals(bytes), `${digest} is ${digestOf(got)}`)
  }
}

/** Pushes as a client does that has no name: each blob in one request, then the manifests, the root with its tag. */
export async function pushOver(url: string, name: string, content: Content, tag = TAG): Promise<void> {
  for (const [digest, body] of content.blobs) {
    const answer = await fetch(`${url}/v2/${name}/blobs/uploads/?digest=${digest}`, { method: 'POST', body })
    assert.equal(answer.status, 201, await answer.text())
  }
  for (const [digest, { mediaType, bytes: body }] of content.manifests) {
    const tagged = digest === content.root.digest ? `?tag=${tag}` : ''
    const headers = { 'Content-Type': mediaType }
    const answer = await fetch(`${url}/v2/${name}/manifests/${digest}${tagged}`, { method: 'PUT', headers, body })
    assert.equal(answer.status, 201, await answer.text())
  }
}
