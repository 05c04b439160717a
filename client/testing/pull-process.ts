/** `NAME ROOT`: a pull in a process of its own, which a test may kill. */

import { parseImageName } from '../image-name.ts'
import { Images } from '../images.ts'
import { pullImage } from '../pull.ts'
import { RegistryRepository } from '../registry.ts'
import { StoreFolders } from '../store.ts'
import { Transport } from '../transport.ts'

const [reference = '', root = ''] = process.argv.slice(2)
const name = parseImageName(reference)
await using transport = new Transport(reference.split('/')[0] ?? '', { backOffMs: 1 })
const store = await StoreFolders.open(root)
const source = new RegistryRepository(transport, name.repository)
await pullImage({ store, images: new Images(store), source, options: {} }, name)
