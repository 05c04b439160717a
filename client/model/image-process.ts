/** The part of an image's configuration that a container is made from (image-spec, config.md, and docker's additions to it). */
/** As an image's configuration has it; times in nanoseconds, 0 is the default. */
export interface ImageHealth {
  readonly Test?: readonly string[]
  readonly Interval?: number
  readonly Timeout?: number
  readonly StartPeriod?: number
  readonly StartInterval?: number
  readonly Retries?: number
}

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
