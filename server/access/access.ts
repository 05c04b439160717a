/** All that decides about access, put together from the settings and the store. */
import type { Accounts } from '../../storage/accounts.ts'
import type { SigningKeys } from '../../storage/signing-keys.ts'
import type { Log } from '../log.ts'
import type { Authorize } from '../routing.ts'
import { Directory } from './directory.ts'
import { type BasicMode, type ForeignTokens, Guard } from './guard.ts'
import { Htpasswd } from './htpasswd.ts'
import type { Origins } from './origin.ts'
import type { Policy } from './policy.ts'
import { TokenKeys } from './token-keys.ts'
import { TokenService } from './token-service.ts'
import { SKEW_SECONDS, type TokenSettings, Tokens } from './tokens.ts'

export interface AccessSettings {
  readonly policy: Policy
  readonly basic: BasicMode
  readonly tokens: TokenSettings
  /** What the signing keys are encrypted with. */
  readonly secret: string | undefined
  readonly htpasswd: string | undefined
  readonly origins: Origins
}

export interface Access {
  readonly authorize: Authorize
  /** Absent with Basic alone. */
  readonly tokenService: TokenService | undefined
  close(): void
}

/** Throws `SecretWrong`. */
export async function openAccess(
  settings: AccessSettings,
  accounts: Accounts,
  signingKeys: SigningKeys,
  log: Log,
  foreignTokens: ForeignTokens = async () => undefined,
  keyRefreshMs?: number,
): Promise<Access> {
  const { policy, basic } = settings
  const { service, refreshSeconds } = settings.tokens
  const keys = await TokenKeys.open(signingKeys, settings.secret, (refreshSeconds + SKEW_SECONDS) * 1_000, keyRefreshMs)
  const tokens = new Tokens(keys, settings.tokens)
  const { htpasswd, origins } = settings
  const directory = new Directory({
    accounts,
    ...(htpasswd === undefined
      ? {}
      : { htpasswd: new Htpasswd(htpasswd, (problem) => log.error({ problem }, 'htpasswd file')) }),
    complain: (err) => log.warn({ err }, 'the last use of an account could not be recorded'),
  })
  const parts = { policy, directory, tokens, keys, foreignTokens, origins, service, basic }
  return {
    authorize: new Guard(parts).authorize,
    tokenService: basic === 'only' ? undefined : new TokenService(parts),
    close: () => keys.close(),
  }
}
