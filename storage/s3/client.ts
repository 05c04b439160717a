/** The SDK's client, made of our settings. It tries nothing twice: what may be repeated is decided in `bucket.ts`. */
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import { S3_DEFAULTS, type S3Settings } from './settings.ts'

const CONNECT_TIMEOUT_MS = 5_000
const SOCKETS = 256

export function openClient(settings: S3Settings): S3Client {
  const timeoutMs = settings.timeoutMs ?? S3_DEFAULTS.timeoutMs
  const agent = {
    keepAlive: true,
    maxSockets: SOCKETS,
    ...(settings.proxies === undefined ? {} : { proxyEnv: settings.proxies }),
  }
  const authorities = settings.certificateAuthorities
  const config: S3ClientConfig = {
    region: settings.region ?? S3_DEFAULTS.region,
    ...(settings.endpoint === undefined ? {} : { endpoint: settings.endpoint }),
    forcePathStyle: (settings.addressing ?? (settings.endpoint === undefined ? 'virtual-host' : 'path')) === 'path',
    ...(settings.credentials === undefined ? {} : { credentials: settings.credentials }),
    // Servers other than AWS do not know the newer checksums.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    maxAttempts: 1,
    // It would open a connection of its own for every part.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: Math.min(CONNECT_TIMEOUT_MS, timeoutMs),
      requestTimeout: timeoutMs,
      throwOnRequestTimeout: true,
      socketTimeout: timeoutMs,
      httpAgent: agent,
      httpsAgent: { ...agent, ...(authorities === undefined ? {} : { ca: authorities }) },
    },
  }
  return new S3Client(config)
}
