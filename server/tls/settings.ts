/** What the configuration says about TLS, as the modules that do it want it. */
import type { Config } from '../config/schema.ts'
import type { TlsFiles } from './files.ts'
import { outOfTime, readTls, TlsUnusable } from './files.ts'
import { namesOf, type SelfSigned, selfSigned } from './self-signed.ts'

/** `undefined` for plain HTTP. What a registry makes for itself is made by `withSelfSigned` first. */
export function tlsFilesOf({ tls }: Config): TlsFiles | undefined {
  if (tls.certificate === 'off') return undefined
  return {
    certificate: tls.certificate,
    key: tls.key === 'off' ? tls.certificate : tls.key,
    clientAuthorities: tls.clientAuthorities === 'off' ? undefined : tls.clientAuthorities,
    minimum: tls.minimum,
  }
}

/** The same configuration with the files that were made, where the registry shall make them. Rejects with the system's error. */
export async function withSelfSigned(config: Config): Promise<{ config: Config; made: SelfSigned | undefined }> {
  if (!config.tls.selfSigned) return { config, made: undefined }
  const publicUrl = config.publicUrl === 'auto' ? undefined : config.publicUrl
  const made = await selfSigned(config.data, namesOf(config.listen, publicUrl))
  return { config: { ...config, tls: { ...config.tls, certificate: made.file, key: made.file } }, made }
}

/** What is wrong with the files, or will soon be: for `gantry config check`. */
export async function tlsProblem(config: Config): Promise<string | undefined> {
  const files = tlsFilesOf(config)
  if (!files) return undefined
  try {
    const problem = outOfTime(await readTls(files), new Date())
    return problem && `the certificate in ${files.certificate} ${problem}`
  } catch (error) {
    if (error instanceof TlsUnusable) return error.message
    throw error
  }
}
