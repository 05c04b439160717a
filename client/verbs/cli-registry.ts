/** The verbs about a registry, on the command line. */
import type { Command } from './cli-commander.ts'
import { type Cli, collected, withJson, withPlainHttp, withProgress } from './cli-context.ts'
import type { CommonFlags, ProgressFlags, PullFlags } from './flags.ts'
import type { Output } from './output.ts'
import type { ArtifactFlags } from './verb-artifact.ts'
import type { LoginFlags } from './verb-login.ts'
import type { ManifestFlags } from './verb-manifest.ts'
import type { SyncFlags } from './verb-remote.ts'

const LOGIN_HELP = `
Examples:
  $ gantry login localhost:5000
  $ pass show registry | gantry login -u ci --password-stdin registry.example

What you type is tried out first, then kept where docker keeps it: with the credential helper of its config.json, or in that file. Where the
registry's token service gives an identity token, that is kept and not the password.
`

const LOGOUT_HELP = `
Examples:
  $ gantry logout localhost:5000
`

const TAGS_HELP = `
Examples:
  $ gantry tags localhost:5000/team/app
  $ gantry tags localhost:5000                          the repositories that you may see
`

const DELETE_HELP = `
Examples:
  $ gantry delete localhost:5000/team/app:1.2           this tag
  $ gantry delete localhost:5000/team/app@sha256:…      the manifest, and with it all its tags
`

const SYNC_HELP = `
Examples:
  $ gantry sync registry.example/team/app localhost:5000/team/app
  $ gantry sync --tags 'v2\\..*' registry.example/team/app localhost:5000/team/app
  $ gantry sync registry.example localhost:5000         all repositories that you may see
  $ gantry sync registry.example/team/app oci:mirror
  $ gantry sync --referrers registry.example/team/app localhost:5000/team/app     signatures, too

Every platform of every tag. What is the same there is not copied again; a tag that fails is told of, and the others go on.
`

const MANIFEST_INSPECT_HELP = `
Examples:
  $ gantry manifest inspect registry.example/team/app:1.2
  $ gantry manifest inspect --raw localhost:5000/team/app:1.2 | sha256sum
`

const MANIFEST_CREATE_HELP = `
Examples:
  $ gantry manifest create localhost:5000/team/app:1.2 localhost:5000/team/app:1.2-amd64 localhost:5000/team/app:1.2-arm64
  $ gantry manifest annotate --variant v8 localhost:5000/team/app:1.2 localhost:5000/team/app:1.2-arm64
  $ gantry manifest push localhost:5000/team/app:1.2
`

const ARTIFACT_HELP = `
Examples:
  $ gantry artifact push --artifact-type application/vnd.acme.config localhost:5000/team/config:1 app.yaml:application/yaml
  $ gantry artifact pull -o folder localhost:5000/team/config:1
  $ gantry artifact attach --artifact-type application/spdx+json localhost:5000/team/app:1.2 sbom.json
  $ gantry artifact discover localhost:5000/team/app:1.2
`

export function register({ verb, withRoot, output }: Cli): void {
  withJson(withPlainHttp(verb('login <registry>', LOGIN_HELP)))
    .option('-u, --username <name>', 'who you are; else you are asked')
    .option('-p, --password <password>', 'seen by everybody who lists processes: rather use --password-stdin')
    .option('--password-stdin', 'take the password from standard input')
    .action(async (registry: string, flags: LoginFlags) => {
      const { loginVerb } = await import('./verb-login.ts')
      await loginVerb(registry, flags, output)
    })

  withJson(verb('logout <registry>', LOGOUT_HELP)).action(async (registry: string, flags: CommonFlags) => {
    const { logoutVerb } = await import('./verb-login.ts')
    await logoutVerb(registry, flags, output)
  })

  withJson(withPlainHttp(verb('tags <repository>', TAGS_HELP).alias('search-tags'))).action(
    async (place: string, flags: CommonFlags) => {
      const { tagsVerb } = await import('./verb-tags.ts')
      await tagsVerb(place, withRoot(flags), output)
    },
  )

  withJson(withProgress(withPlainHttp(verb('delete <image...>', DELETE_HELP)))).action(
    async (names: string[], flags: ProgressFlags) => {
      const { deleteVerb } = await import('./verb-remote.ts')
      await deleteVerb(names, flags, output)
    },
  )

  withJson(withProgress(withPlainHttp(verb('sync <from> <to>', SYNC_HELP))))
    .option('--tags <regexp>', 'only these')
    .option('--referrers', 'what refers to them, too: signatures, bills of materials')
    .action(async (from: string, to: string, flags: SyncFlags) => {
      const { syncVerb } = await import('./verb-remote.ts')
      await syncVerb(from, to, flags, output)
    })

  registerManifest(verb('manifest'), withRoot, output)
  registerArtifact(verb('artifact'), output)
}

function registerManifest(manifest: Command, withRoot: Cli['withRoot'], output: Output): void {
  const part = (usage: string, description: string, help: string): Command =>
    withJson(withPlainHttp(manifest.command(usage).description(description).addHelpText('after', help)))
  part('inspect <image>', 'print a manifest or an index', MANIFEST_INSPECT_HELP)
    .option('--raw', 'byte for byte')
    .action(async (name: string, flags: PullFlags & { readonly raw?: boolean }) => {
      const { manifestInspectVerb } = await import('./verb-inspect.ts')
      await manifestInspectVerb(name, withRoot({ ...manifest.opts<CommonFlags>(), ...flags }), output)
    })
  part('create <index> <image...>', 'begin an index of these images', MANIFEST_CREATE_HELP)
    .option('--amend', 'add to the one that was begun')
    .action(async (name: string, images: string[], flags: ManifestFlags) => {
      const { manifestCreateVerb } = await import('./verb-manifest.ts')
      await manifestCreateVerb(name, images, flags, output)
    })
  part('annotate <index> <image>', 'say more of one of its images', MANIFEST_CREATE_HELP)
    .option('--os <os>', 'operating system')
    .option('--arch <architecture>', 'architecture')
    .option('--variant <variant>', 'of the architecture')
    .option('--annotation <key=value>', 'for people and programs', collected, [])
    .action(async (name: string, image: string, flags: ManifestFlags) => {
      const { manifestAnnotateVerb } = await import('./verb-manifest.ts')
      await manifestAnnotateVerb(name, image, flags, output)
    })
  part('push <index>', 'send it, with its images, to the registry that its name names', MANIFEST_CREATE_HELP)
    .option('--keep', 'keep what was begun, to add to it')
    .action(async (name: string, flags: ManifestFlags) => {
      const { manifestPushVerb } = await import('./verb-manifest.ts')
      await manifestPushVerb(name, flags, output)
    })
}

function registerArtifact(artifact: Command, output: Output): void {
  const part = (usage: string, description: string, help: string): Command =>
    withJson(withPlainHttp(artifact.command(usage).description(description).addHelpText('after', help)))
  const withContent = (command: Command): Command =>
    command
      .requiredOption('--artifact-type <type>', 'what kind of thing it is, as a media type')
      .option('--annotation <key=value>', 'for people and programs', collected, [])
      .option('-q, --quiet', 'only the digest')
  withContent(part('push <artifact> <file...>', 'files as an artifact, under a tag', ARTIFACT_HELP)).action(
    async (name: string, files: string[], flags: ArtifactFlags & { readonly artifactType: string }) => {
      const { artifactPushVerb } = await import('./verb-artifact.ts')
      await artifactPushVerb(name, files, flags, output)
    },
  )
  withContent(part('attach <image> [file...]', 'files about an image, found by it', ARTIFACT_HELP)).action(
    async (name: string, files: string[], flags: ArtifactFlags & { readonly artifactType: string }) => {
      const { artifactAttachVerb } = await import('./verb-artifact.ts')
      await artifactAttachVerb(name, files, flags, output)
    },
  )
  part('pull <artifact>', 'write its files into a folder', ARTIFACT_HELP)
    .option('-o, --output <folder>', 'instead of this one')
    .action(async (name: string, flags: ArtifactFlags) => {
      const { artifactPullVerb } = await import('./verb-artifact.ts')
      await artifactPullVerb(name, flags, output)
    })
  part('discover <image>', 'list what is attached to an image', ARTIFACT_HELP)
    .option('--artifact-type <type>', 'only this kind')
    .action(async (name: string, flags: ArtifactFlags) => {
      const { artifactDiscoverVerb } = await import('./verb-artifact.ts')
      await artifactDiscoverVerb(name, flags, output)
    })
}
