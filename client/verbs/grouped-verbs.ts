/** docker's longer spelling: `container ls` is `ps`, `image rm` is `rmi`. */

const SPELLINGS: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  container: {
    ...same(
      'run create start stop restart kill pause unpause wait rename rm update attach logs exec cp commit export diff top stats port',
    ),
    ls: ['ps'],
    list: ['ps'],
    ps: ['ps'],
    remove: ['rm'],
    inspect: ['inspect', '--type', 'container'],
  },
  image: {
    ...same('pull push tag history save load import'),
    ls: ['images'],
    list: ['images'],
    rm: ['rmi'],
    remove: ['rmi'],
    inspect: ['inspect', '--type', 'image'],
  },
}

function same(verbs: string): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(verbs.split(' ').map((verb) => [verb, [verb]]))
}

/** The same command as a verb by itself; what is none, as `container prune`, stays as it is. */
export function ungrouped(argv: readonly string[]): readonly string[] {
  const at = argv[0] === '--root' ? 2 : argv[0]?.startsWith('--root=') ? 1 : 0
  const [group = '', verb = ''] = argv.slice(at)
  const words = Object.hasOwn(SPELLINGS, group) ? SPELLINGS[group] : undefined
  const plain = words && Object.hasOwn(words, verb) ? words[verb] : undefined
  return plain ? [...argv.slice(0, at), ...plain, ...argv.slice(at + 2)] : argv
}
