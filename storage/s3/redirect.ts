/** URLs that carry a signature instead of credentials: what a client is sent to, to fetch large content from the bucket by itself. */
import { GetObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { openClient } from './client.ts'
import type { S3Settings } from './settings.ts'

/** A download that has begun goes on. So long a client may take to begin, and to come back with ranges after a break. */
const GOOD_FOR_S = 20 * 60

export class ReadableUrls {
  /** Signs only: the name of the host is part of what is signed, and nobody is asked. */
  readonly #client: S3Client
  readonly #bucket: string

  constructor(settings: S3Settings) {
    const endpoint = settings.publicEndpoint ?? settings.endpoint
    this.#client = openClient({ ...settings, ...(endpoint === undefined ? {} : { endpoint }) })
    this.#bucket = settings.bucket
  }

  /** For GET, with or without `Range`. */
  async of(key: string): Promise<URL> {
    const command = new GetObjectCommand({
      Bucket: this.#bucket,
      Key: key,
      ResponseContentType: 'application/octet-stream',
    })
    return new URL(await getSignedUrl(this.#client, command, { expiresIn: GOOD_FOR_S }))
  }

  close(): void {
    this.#client.destroy()
  }
}
