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
  const client = new S3Client(config)
  client.middlewareStack.add(
    (next) => async (request) => {
      try {
        return await next(request)
      } catch (error) {
        throw await masked(error, client.config.credentials)
      }
    },
    { step: 'initialize', name: 'maskSecrets', priority: 'high' },
  )
  return client
}

/** A server may answer with what it was sent, and its words end in logs: the secrets in them do not. */
export async function masked(error: unknown, credentials: S3Client['config']['credentials']): Promise<unknown> {
  const known = await credentials().catch(() => undefined) // those that cannot be found were not sent
  const secrets = [known?.secretAccessKey, known?.sessionToken].filter((secret): secret is string => Boolean(secret))
  if (!(error instanceof Error) || secrets.length === 0) return error
  const fields = error as unknown as Record<string, unknown>
  for (const name of Object.getOwnPropertyNames(error)) {
    const text = fields[name]
    if (typeof text !== 'string') continue
    const safe = secrets.reduce((before, secret) => before.replaceAll(secret, '[secret]'), text)
    if (safe !== text) Object.defineProperty(error, name, { value: safe })
  }
  return error
}
