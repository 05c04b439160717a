/** From a registry's name to requests to it, as this user makes them: with their credentials, their certificates, through their proxy. */
import { credentialFor, type Environment } from './credentials.ts'
import type { ContentSource } from './endpoint.ts'
import { certificateFolders, hostCertificates } from './host-certificates.ts'
import { MirroredSource } from './mirrored-source.ts'
import { proxySettings } from './proxies.ts'
import { RegistryRepository } from './registry.ts'
import { readSettings, settingsOf } from './settings.ts'
import { Transport, type TransportOptions } from './transport.ts'
import { journalFolder, UploadFiles } from './upload-journal.ts'

export interface AccessOptions {
  readonly plainHttp?: boolean | undefined
  readonly environment?: Environment
  readonly transport?: TransportOptions
}

/** `repository`: for which of a user's credentials, where they have several for one registry. */
export async function openTransport(
  registry: string,
  options: AccessOptions = {},
  repository = '',
): Promise<Transport> {
  const environment = options.environment ?? process.env
  return new Transport(registry, {
    plainHttp: options.plainHttp ?? false,
    certificates: await hostCertificates(certificateFolders(registry, environment)),
    credential: () => credentialFor(registry, environment, repository),
    proxies: proxySettings(environment),
    ...options.transport,
  })
}

export async function openRepository(
  registry: string,
  repository: string,
  options: AccessOptions = {},
): Promise<RegistryRepository> {
  const journal = new UploadFiles(journalFolder(options.environment ?? process.env))
  return new RegistryRepository(await openTransport(registry, options, repository), repository, { journal })
}

/** To read from only: with its mirrors before it, where the user has set some up. */
export async function openMirrored(
  registry: string,
  repository: string,
  options: AccessOptions = {},
): Promise<ContentSource> {
  const { mirrors } = settingsOf(await readSettings(options.environment ?? process.env), registry)
  const own = await openRepository(registry, repository, options)
  if (mirrors.length === 0) return own
  const opened = mirrors.map(async (mirror) => {
    const [host = '', prefix] = mirror.split(/\/(.*)/s)
    return await openRepository(host, prefix ? `${prefix}/${repository}` : repository, { ...options, plainHttp: false })
  })
  return new MirroredSource(own.label, [...(await Promise.all(opened)), own])
}
