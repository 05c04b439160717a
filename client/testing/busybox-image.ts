/** An image with a shell, made of this machine's static busybox: for tests of what docker's users type. */
import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import tar from 'tar-stream'
import { Images } from '../images/images.ts'
import { pullImage } from '../images/pull.ts'
import { parseImageName } from '../model/image-name.ts'
import { openRepository } from '../registry/registry-access.ts'
import { StoreFolders } from '../store/store.ts'
import { imagePages, serve } from './image-pages.ts'
import { scriptedRegistry } from './scripted-registry.ts'

const BUSYBOX = '/bin/busybox'

const FILES: Readonly<Record<string, string>> = {
  'etc/passwd':
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\nwww:x:33:33:www:/srv:/bin/sh\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\nwww:x:33:\nextra:x:44:www\n',
  'srv/seed.txt': 'seeded\n',
}

/** One layer: busybox with a link for each of its applets, users, and `/srv`, which belongs to `www` and has one file. */
export async function busyboxLayer(): Promise<Buffer> {
  const pack = tar.pack()
  const mtime = new Date(0)
  for (const name of ['bin', 'etc', 'root', 'tmp', 'dev', 'proc', 'sys'])
    pack.entry({ name, type: 'directory', mode: name === 'tmp' ? 0o1777 : 0o755, mtime })
  pack.entry({ name: 'srv', type: 'directory', mode: 0o750, uid: 33, gid: 33, mtime })
  pack.entry({ name: 'bin/busybox', mode: 0o755, mtime }, await readFile(BUSYBOX))
  for (const applet of execFileSync(BUSYBOX, ['--list'], { encoding: 'utf8' }).trim().split('\n'))
    if (applet !== 'busybox') pack.entry({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox', mtime })
  for (const [name, text] of Object.entries(FILES))
    pack.entry({ name, mode: 0o644, mtime, ...(name.startsWith('srv') ? { uid: 33, gid: 33 } : {}) }, text)
  pack.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of pack) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** Pulls an image of these layers into the store at `root`; resolves to its name. The registry is gone afterwards. */
export async function pullMade(root: string, layers: readonly Buffer[], config: object): Promise<string> {
  await using registry = await scriptedRegistry(serve(imagePages(layers, config)))
  const name = parseImageName(`${registry.host}/team/app`)
  await using source = await openRepository(registry.host, name.repository, { plainHttp: true })
  const store = await StoreFolders.open(root)
  return (await pullImage({ store, images: new Images(store), source, options: {} }, name)).name
}

/** As most images of a distribution are. */
const SHELL_IMAGE = { Cmd: ['sh'], Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'] }

/** Pulled into the store at `root`: its name. `config` beside what most images of a distribution have. */
export async function pullBusybox(root: string, config: object = {}): Promise<string> {
  return await pullMade(root, [await busyboxLayer()], { ...SHELL_IMAGE, ...config })
}
