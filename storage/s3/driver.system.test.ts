import { it } from 'node:test'
import { type S3Server, s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import { describeStorageDriver } from '../testing/driver-contract.ts'
import { parseBlobRecord } from './blob-record.ts'
import { Bucket } from './bucket.ts'
import { openS3Driver } from './driver.ts'
import type { S3Settings } from './settings.ts'

const MIB = 1024 * 1024

for (const { kind, skip } of await s3Kinds()) {
  if (skip) {
    it(`storage driver: s3 on ${kind}`, { skip }, () => {})
    continue
  }
  let server: S3Server
  describeStorageDriver(`s3 on ${kind}`, async () => {
    server = await startS3(kind)
    const settings = server.settings({ prefix: 'contract/', partBytes: 5 * MIB })
    const driver = await openS3Driver(settings)
    return {
      driver,
      another: () => openS3Driver(settings),
      leftovers: () => leftovers(server, settings),
      async close() {
        await driver.close()
        await server[Symbol.asyncDispose]()
      },
    }
  })
}

/** What no record names: data, parts of uploads that are not complete, what sessions and probes keep. */
async function leftovers(server: S3Server, settings: S3Settings): Promise<string[]> {
  const bucket = new Bucket(settings)
  const names = async (prefix: string): Promise<string[]> => {
    const found = await Array.fromAsync(bucket.list(prefix))
    const deeper = await Promise.all(found.map((name) => (name.endsWith('/') ? names(prefix + name) : [prefix + name])))
    return deeper.flat()
  }
  try {
    const published = await Promise.all((await names('staged/')).map((key) => bucket.get(key)))
    const records = published.map(
      (found) => found && parseBlobRecord(found.bytes, { key: '', sizeBytes: found.sizeBytes, etag: '' }),
    )
    const named = new Set(
      records.flatMap((record) =>
        (record && 'data' in record.content ? record.content.data : []).map(({ key }) => key),
      ),
    )
    const data = (await names('data/')).filter((key) => !named.has(key))
    return [...data, ...(await names('sessions/')), ...(await names('probe/')), ...(await server.parts())]
  } finally {
    bucket.close()
  }
}
