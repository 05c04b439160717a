/** The verbs about images of the local store, on the command line. */
import { Option } from './cli-commander.ts'
import {
  booleansByValue,
  type Cli,
  collected,
  listing,
  withJson,
  withPlainHttp,
  withPlatform,
  withProgress,
} from './cli-context.ts'
import type { CommonFlags, PullFlags } from './flags.ts'
import type { ListingFlags } from './templates/listing.ts'
import type { ImportFlags, SaveFlags } from './verb-archive.ts'
import type { ImagesFlags } from './verb-images.ts'

const PULL_HELP = `
Examples:
  $ gantry pull localhost:5000/debian                   the tag "latest"
  $ gantry pull registry.example/team/app:1.2
  $ gantry pull registry.example/team/app@sha256:…      exactly this
  $ gantry pull --platform linux/arm64 localhost:5000/debian

A broken pull goes on where it was, in the middle of a layer too. Credentials are those of docker and podman; \`gantry login\` adds to them.
Plain http is spoken only to this machine, or with --plain-http.
`

const IMAGES_HELP = `
Examples:
  $ gantry images --filter 'reference=localhost:5000/team/*'
  $ gantry images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
`

const TAG_HELP = `
Examples:
  $ gantry tag localhost:5000/debian registry.example/base/debian:12
`

const HISTORY_HELP = `
Examples:
  $ gantry history --no-trunc localhost:5000/debian
  $ gantry history --format '{{.Size}} {{.CreatedBy}}' 4f1c0d
`

const SAVE_HELP = `
Examples:
  $ gantry save -o app.tar localhost:5000/team/app:1.2
  $ gantry save localhost:5000/team/app:1.2 | docker load
  $ gantry save --format oci-archive -o app.tar localhost:5000/team/app:1.2
`

const LOAD_HELP = `
Examples:
  $ gantry load -i app.tar
  $ docker save app:1.2 | gantry load                   it is docker.io/library/app:1.2 then, as for docker
  $ gantry load -i app.tar --tag localhost:5000/team/app:1.2
`

const IMPORT_HELP = `
Examples:
  $ gantry import rootfs.tar.gz localhost/base:1
  $ debootstrap … && tar -C root -c . | gantry import - localhost/debian:12 -c 'CMD ["/bin/bash"]'
  $ gantry import https://example.org/rootfs.tar.zst localhost/base:1

(\`gantry import distribution …\` is the operator's: it takes over what another registry has stored.)
`

const PRUNE_HELP = `
Examples:
  $ gantry image prune                                  what broken pulls left
  $ gantry image prune --all                            and images that no container was made from
`

const RMI_HELP = `
Examples:
  $ gantry rmi localhost:5000/debian
  $ gantry rmi 4f1c0d                                   by the beginning of its id: all its names

What no other image and no container needs is deleted.
`

export function register({ verb, withRoot, output }: Cli): void {
  withJson(withProgress(withPlatform(withPlainHttp(verb('pull <image>', PULL_HELP))))).action(
    async (image: string, flags: PullFlags) => {
      const { pullVerb } = await import('./verb-pull.ts')
      await pullVerb(image, withRoot(flags), output)
    },
  )

  listing(booleansByValue(verb('images [name]', IMAGES_HELP)))
    .option('-a, --all', 'as it is anyhow: there are none in between')
    .option('--digests', 'show the digests of the manifests too')
    .option('--no-trunc', 'whole ids')
    .option(
      '-f, --filter <key=value>',
      'only those: reference=PATTERN, label=KEY[=VALUE], dangling=true, before=IMAGE, since=IMAGE',
      collected,
      [],
    )
    .action(async (name: string | undefined, flags: Omit<ImagesFlags, 'root'>) => {
      const { imagesVerb } = await import('./verb-images.ts')
      await imagesVerb(name, withRoot(flags), output)
    })

  withJson(booleansByValue(verb('rmi <image...>', RMI_HELP)))
    .option('-f, --force', 'also one that containers were made from which do not run; what is not there is no error')
    .action(async (images: string[], flags: CommonFlags & { readonly force?: boolean }) => {
      const { removeImagesVerb } = await import('./verb-images.ts')
      await removeImagesVerb(images, withRoot(flags), output)
    })

  withJson(verb('tag <image> <name>', TAG_HELP)).action(async (from: string, to: string, flags: CommonFlags) => {
    const { tagVerb } = await import('./verb-images.ts')
    await tagVerb(from, to, withRoot(flags), output)
  })

  listing(withPlatform(withPlainHttp(booleansByValue(verb('history <image>', HISTORY_HELP)))))
    .option('--no-trunc', 'whole commands')
    .action(async (name: string, flags: PullFlags & ListingFlags & { readonly trunc: boolean }) => {
      const { historyVerb } = await import('./verb-inspect.ts')
      await historyVerb(name, withRoot({ ...flags, noTrunc: !flags.trunc }), output)
    })

  withJson(withProgress(verb('save <image...>', SAVE_HELP)))
    .option('-o, --output <file>', 'instead of standard output')
    .addOption(
      new Option('--format <format>', 'docker loads both; older ones only the first')
        .choices(['docker-archive', 'oci-archive'])
        .default('docker-archive'),
    )
    .action(async (names: string[], flags: SaveFlags) => {
      const { saveVerb } = await import('./verb-archive.ts')
      await saveVerb(names, withRoot(flags), output)
    })

  withJson(withProgress(withPlatform(verb('load', LOAD_HELP))))
    .option('-i, --input <file>', 'instead of standard input')
    .option('-t, --tag <name>', 'what to call it, whatever the archive says')
    .action(async (flags: PullFlags & { readonly input?: string; readonly tag?: string }) => {
      const { loadVerb } = await import('./verb-archive.ts')
      await loadVerb(withRoot(flags), output)
    })

  withJson(withProgress(withPlatform(verb('import <file> <name>', IMPORT_HELP))))
    .option(
      '-c, --change <instruction>',
      'CMD, ENTRYPOINT, ENV, USER, WORKDIR, STOPSIGNAL, LABEL, EXPOSE or VOLUME, as in a Dockerfile',
      collected,
      [],
    )
    .option('-m, --message <text>', 'for its history')
    .action(async (file: string, name: string, flags: ImportFlags) => {
      const { importVerb } = await import('./verb-archive.ts')
      await importVerb(file, name, withRoot(flags), output)
    })

  const image = verb('image')
  withJson(image.command('prune').description('remove what nothing needs').addHelpText('after', PRUNE_HELP))
    .option('-a, --all', 'images that no container was made from, too')
    .option('-f, --force', 'never ask, as it never does')
    .option('--filter <key=value>', 'label=KEY[=VALUE], label!=KEY[=VALUE], or until=TIME', collected, [])
    .action(async (flags: CommonFlags & { readonly all?: boolean; readonly filter: readonly string[] }) => {
      const { pruneImagesVerb } = await import('./verb-images.ts')
      await pruneImagesVerb(withRoot({ ...image.opts<CommonFlags>(), ...flags }), output)
    })
}
