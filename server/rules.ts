/** What the operator decides about the protocol, read at every request. Checked where it is read from; here it is taken as it is. */

export interface RegistryRules {
  /** The largest manifest. The specification asks for 4 MB at least; clients read no more than about that. */
  readonly manifestBytes: number
  /** Nothing may be pushed or deleted. */
  readonly readonly: boolean
  /** Told to the users of this registry with every answer; their clients print it. Printable ASCII. */
  readonly warnings: readonly string[]
}

export const DEFAULT_RULES: RegistryRules = { manifestBytes: 5 * 1024 * 1024, readonly: false, warnings: [] }
