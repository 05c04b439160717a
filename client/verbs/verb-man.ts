/** `gantry man`: one page on standard output, or all of them in a folder. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cli } from './cli-context.ts'
import { manPage } from './man-page.ts'
import type { Output } from './output.ts'
import { ownVersion } from './verb-version.ts'

/** No name: the page of the whole command. */
export async function manVerb(
  {
    name,
    into,
    verbs,
    described,
  }: Pick<Cli, 'verbs' | 'described'> & { readonly name: string | undefined; readonly into: string | undefined },
  output: Output,
): Promise<void> {
  if (name !== undefined && into !== undefined)
    throw new Error('--into writes the pages of all verbs: leave the verb out')
  if (name !== undefined && !verbs.includes(name))
    throw new Error(`there is no verb ${name}; \`gantry --help\` lists them`)
  const version = await ownVersion()
  if (into === undefined) return output.line(manPage(await pageOf(name, described), version).trimEnd())
  await mkdir(into, { recursive: true })
  for (const verb of [undefined, ...verbs]) {
    const command = await described(verb)
    if (command === undefined) continue // an operator's
    const file = join(into, verb === undefined ? 'gantry.1' : `gantry-${verb}.1`)
    await writeFile(file, manPage(command, version))
    output.line(file)
  }
}

async function pageOf(name: string | undefined, described: Cli['described']) {
  const command = await described(name)
  if (command === undefined)
    throw new Error(`${name} is an operator's verb and has no page: gantry ${name} --help tells all`)
  return command
}
