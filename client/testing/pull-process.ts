/** `NAME ROOT`: a pull in a process of its own, which a test may kill. */

import { Images } from '../images/images.ts'
import { pullImage } from '../images/pull.ts'
import { parseImageName } from '../model/image-name.ts'
import { RegistryRepository } from '../registry/registry.ts'
import { Transport } from '../registry/transport.ts'
import { StoreFolders } from '../store/store.ts'

const [reference = '', root = ''] = process.argv.slice(2)
const name = parseImageName(reference)
await using transport = new Transport(reference.split('/')[0] ?? '', { backOffMs: 1 })
const store = await StoreFolders.open(root)
const source = new RegistryRepository(transport, name.repository)
await pullImage({ store, images: new Images(store), source, options: {} }, name)
