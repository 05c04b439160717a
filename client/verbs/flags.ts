/** What the command line gives each verb. */

export interface CommonFlags {
  readonly root?: string
  readonly json?: boolean
  readonly quiet?: boolean
}

export interface ProgressFlags extends CommonFlags {
  readonly progress: 'auto' | 'tty' | 'plain' | 'json'
}

export interface PullFlags extends ProgressFlags {
  readonly plainHttp?: boolean
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string }
}
