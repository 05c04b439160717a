/** The verbs about images of the local store, on the command line. */
import { type Cli, withJson, withPlainHttp, withPlatform, withProgress } from './cli-context.ts'
import type { CommonFlags, PullFlags } from './flags.ts'

const PULL_HELP = `
Examples:
  $ gantry pull localhost:5000/debian                   the tag "latest"
  $ gantry pull registry.example/team/app:1.2
  $ gantry pull registry.example/team/app@sha256:…      exactly this
  $ gantry pull --platform linux/arm64 localhost:5000/debian

A broken pull goes on where it was, in the middle of a layer too. Credentials are those of docker and podman; \`gantry login\` adds to them.
Plain http is spoken only to this machine, or with --plain-http.
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

  withJson(verb('images'))
    .option('-q, --quiet', 'only the ids')
    .option('--digests', 'show the digests of the manifests too')
    .action(async (flags: CommonFlags & { readonly digests?: boolean }) => {
      const { imagesVerb } = await import('./verb-images.ts')
      await imagesVerb(withRoot(flags), output)
    })

  withJson(verb('rmi <image...>', RMI_HELP)).action(async (images: string[], flags: CommonFlags) => {
    const { removeImagesVerb } = await import('./verb-images.ts')
    await removeImagesVerb(images, withRoot(flags), output)
  })
}
