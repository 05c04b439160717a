/** The verb `init` of the operator's command line. */
import { writeFile } from 'node:fs/promises'
import { Argument, type Command, Option } from 'commander'
import { keysOf } from './config/key.ts'
import { CONFIG } from './config/schema.ts'
import { printTemplate, TEMPLATES, type Template } from './config/template.ts'
import { CannotServe, reason } from './reasons.ts'

const INIT_HELP = `
disk is a registry on this disk, s3 one of several replicas over a bucket, accounts a registry for teams on this disk. The file
has every key with what it is for; no secret is ever written into it, and a file that is there is not overwritten.

  $ gantry init accounts --output gantry.yaml
  $ gantry config check --config gantry.yaml
`

export function addInitVerb(program: Command): void {
  program
    .command('init')
    .description('Write a commented configuration to begin with.')
    .addHelpText('after', INIT_HELP)
    .addArgument(new Argument('[kind]', 'what it is for').choices(TEMPLATES).default('disk'))
    .addOption(new Option('--output <file>', 'where to; - is standard output').default('gantry.yaml'))
    .action(async (kind: Template, { output }: { output: string }) => {
      const text = printTemplate(kind, keysOf(CONFIG), output === '-' ? 'gantry.yaml' : output)
      if (output === '-') return void process.stdout.write(text)
      await writeNew(output, text)
      process.stdout.write(`${output} is written; next: gantry serve --config ${output}\n`)
    })
}

async function writeNew(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { flag: 'wx', mode: 0o600 })
  } catch (cause) {
    const isThere = (cause as NodeJS.ErrnoException).code === 'EEXIST'
    const why = isThere ? 'it is there already, and is not overwritten; give another --output' : reason(cause)
    throw new CannotServe(`cannot write ${file}: ${why}`, { cause })
  }
}
