/** The part of an image's configuration that a container is made from (image-spec, config.md, and docker's additions to it). */
import type { ImageHealth } from './health.ts'

export interface ImageProcess {
  readonly Entrypoint?: readonly string[] | null
  readonly Cmd?: readonly string[] | null
  readonly Env?: readonly string[] | null
  readonly WorkingDir?: string
  readonly User?: string
  readonly StopSignal?: string
  readonly Labels?: Readonly<Record<string, string>>
  /** The places in it that are to be volumes. */
  readonly Volumes?: readonly string[]
  readonly ExposedPorts?: readonly string[]
  readonly Healthcheck?: ImageHealth
}
