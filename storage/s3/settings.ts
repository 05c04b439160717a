/** What an operator can say about a bucket; everything but its name has a default that fits most. */

export interface S3Settings {
  readonly bucket: string
  /** Of anything but AWS: `https://minio.example:9000`. */
  readonly endpoint?: string
  /** How clients reach the same server, where that is another way than ours: for what they are sent to fetch by themselves. */
  readonly publicEndpoint?: string
  readonly region?: string
  /** Put before every key, so that several stores share a bucket: empty, or ending in `/`. */
  readonly prefix?: string
  /** Whether the bucket's name is in the path or in the host name. Default: the path when there is an endpoint. */
  readonly addressing?: 'path' | 'virtual-host'
  /** Absent: the standard chain of the AWS SDK (environment, profile, web identity, instance). */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string }
  /** PEM: the only authorities to trust. Absent: those that Node knows. */
  readonly certificateAuthorities?: string
  /** `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, as most programs read them. */
  readonly proxies?: NodeJS.ProcessEnv
  readonly encryption?: { readonly algorithm: 'AES256' | 'aws:kms' | 'aws:kms:dsse'; readonly keyId?: string }
  /** A multiple of 1 MiB, at least 5 MiB, which is S3's own floor. */
  readonly partBytes?: number
  /** Parts of one upload that travel at the same time. */
  readonly parallelParts?: number
  /** For the parts of all uploads of this process together. */
  readonly memoryBytes?: number
  /** Without conditional writes, one process alone can keep records right; the operator promises that there is one. */
  readonly singleReplica?: boolean
  /** Until an answer begins, and between two of its bytes. */
  readonly timeoutMs?: number
  /** Of what may be tried again. */
  readonly attempts?: number
}

const MIB = 1024 * 1024

export const S3_DEFAULTS = {
  region: 'us-east-1',
  partBytes: 8 * MIB,
  parallelParts: 4,
  memoryBytes: 256 * MIB,
  timeoutMs: 30_000,
  attempts: 5,
} as const
