/** What the configuration says about access, as the modules that decide about it want it. */
import type { AccessSettings } from '../access/access.ts'
import { Origins } from '../access/origin.ts'
import { type Policy, USERS_DO_ALL } from '../access/policy.ts'
import type { Config } from './schema.ts'

/** Whether it speaks of who may do what at all; accounts of the store do so too. */
export const isRestricted = ({ accounts, policy, oidc, tls }: Config): boolean =>
  accounts.htpasswd !== 'off' || policy.rules.length > 0 || oidc.length > 0 || tls.clientAuthorities !== 'off'

export const policyOf = ({ policy }: Config): Policy =>
  policy.rules.length > 0 ? policy : { ...policy, rules: USERS_DO_ALL }

export const originsOf = ({ proxies, publicUrl }: Config): Origins =>
  new Origins(proxies, publicUrl === 'auto' ? undefined : publicUrl)

export function accessSettingsOf(config: Config): AccessSettings {
  const { accounts, tokens } = config
  return {
    policy: policyOf(config),
    basic: accounts.basic,
    tokens: {
      service: tokens.service,
      accessSeconds: tokens.lifetime / 1_000,
      refreshSeconds: tokens.refreshLifetime / 1_000,
    },
    secret: secretOf(config),
    htpasswd: accounts.htpasswd === 'off' ? undefined : accounts.htpasswd,
    origins: originsOf(config),
  }
}

export const secretOf = ({ tokens }: Config): string | undefined =>
  tokens.secret === 'off' ? undefined : tokens.secret
