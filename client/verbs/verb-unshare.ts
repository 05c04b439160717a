/** `gantry unshare`: this process is in the user namespace by now (rootless.ts), and becomes the command. */

/** Does not return. */
export function unshareVerb(command: readonly string[]): void {
  const words = command.length > 0 ? command : [process.env['SHELL'] || '/bin/sh']
  process.execve?.('/usr/bin/env', ['env', '--', ...words], process.env)
}
