/** `gantry tags`: the tags of a repository, or the repositories of a registry. */

import { parseRegistry, parseRepository } from '../model/image-name.ts'
import { catalog } from '../registry/registry.ts'
import { openRepository, openTransport } from '../registry/registry-access.ts'
import type { CommonFlags } from './flags.ts'
import type { Output } from './output.ts'

export async function tagsVerb(
  place: string,
  flags: CommonFlags & { readonly plainHttp?: boolean },
  output: Output,
): Promise<void> {
  if (!place.replace(/\/+$/, '').includes('/')) {
    const registry = parseRegistry(place)
    await using transport = await openTransport(registry, flags)
    return await print(catalog(transport), 'repositories', { registry }, flags, output)
  }
  const { registry, repository } = parseRepository(place)
  await using opened = await openRepository(registry, repository, flags)
  await print(opened.tags(), 'tags', { repository: opened.label }, flags, output)
}

/** As they come: a registry may have millions. */
async function print(
  names: AsyncIterable<string>,
  field: string,
  about: object,
  { json }: CommonFlags,
  output: Output,
): Promise<void> {
  const all: string[] = []
  for await (const name of names) {
    if (json) all.push(name)
    else output.line(name)
  }
  if (json) output.line(JSON.stringify({ ...about, [field]: all }))
}
