/**
 * Commander, required: who imports a CommonJS package has Node parse all of it once more, to know its exports, which took a fifth of the time of
 * `gantry ps`.
 */
import { createRequire } from 'node:module'
import type * as Commander from 'commander'

const { Argument, Command, CommanderError, InvalidArgumentError, Option } = createRequire(import.meta.url)(
  'commander',
) as typeof Commander

type Argument = Commander.Argument
type Command = Commander.Command
type Option = Commander.Option

export { Argument, Command, CommanderError, InvalidArgumentError, Option }
