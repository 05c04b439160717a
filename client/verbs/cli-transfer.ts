/** The verbs that move images between places, on the command line. */
import { type Cli, withJson, withPlainHttp, withPlatform, withProgress } from './cli-context.ts'
import type { ProgressFlags } from './flags.ts'
import type { CopyFlags } from './verb-copy.ts'

const PUSH_HELP = `
Examples:
  $ gantry push localhost:5000/team/app:1.2
  $ gantry push localhost:5000/team/app:1.2 registry.example/team/app:1.2

What the registry has is not sent, what it has in another repository is mounted, and a push that was broken off goes on where it was.
`

const COPY_HELP = `
Examples:
  $ gantry copy registry.example/team/app:1.2 localhost:5000/team/app:1.2
  $ gantry copy --all registry.example/team/app:1.2 oci:mirror:1.2      every platform, into an OCI layout
  $ gantry copy oci-archive:app.tar localhost:5000/team/app:1.2
  $ gantry copy localhost:5000/team/app:1.2 docker-archive:- | docker load

Places:
  HOST[:PORT]/NAME[:TAG][@DIGEST]   in a registry (docker://… too)
  oci:FOLDER[:NAME]                 an OCI layout
  oci-archive:FILE[:NAME]           the same in a tar; FILE may be - for a pipe
  docker-archive:FILE[:NAME]        what docker saves and loads
  local:NAME                        the local store

Nothing is converted: every digest stays. It streams from the one to the other and through no disk.
`

export function register({ verb, withRoot, output }: Cli): void {
  withJson(withProgress(withPlainHttp(verb('push <image> [to]', PUSH_HELP)))).action(
    async (image: string, to: string | undefined, flags: ProgressFlags) => {
      const { pushVerb } = await import('./verb-copy.ts')
      await pushVerb(image, to, withRoot(flags), output)
    },
  )

  withJson(withProgress(withPlatform(withPlainHttp(verb('copy <from> <to>', COPY_HELP)))))
    .option('-a, --all', 'everything in an index: all platforms')
    .option('--referrers', 'what refers to it, too: signatures, bills of materials')
    .option('--preserve-digests', 'fail where there is no digest to preserve (old archives of docker)')
    .action(async (from: string, to: string, flags: CopyFlags) => {
      const { copyVerb } = await import('./verb-copy.ts')
      await copyVerb(from, to, withRoot(flags), output)
    })
}
