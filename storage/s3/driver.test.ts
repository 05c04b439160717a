import { it } from 'node:test'
import { type S3Server, s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import { describeStorageDriver } from '../testing/driver-contract.ts'
import { Bucket } from './bucket.ts'
import { openS3Driver } from './driver.ts'

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
      async leftovers() {
        const bucket = new Bucket(settings)
        try {
          return [
            ...(await Array.fromAsync(bucket.list('probe/'))),
            ...(await Array.fromAsync(bucket.list('sessions/'))),
          ]
        } finally {
          bucket.close()
        }
      },
      async close() {
        await driver.close()
        await server[Symbol.asyncDispose]()
      },
    }
  })
}
