/** What the registry does about disks that change bytes, from its configuration, and whom it tells. */
import type { RecordDamaged } from '../storage/errors.ts'
import { howToHeal } from '../storage/healing.ts'
import type { StoreOptions } from '../storage/open.ts'
import type { PassDamage } from '../storage/scrub.ts'
import type { Config } from './config/schema.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { reason } from './reasons.ts'

const AUTO_EVERY_MS = 30 * 24 * 60 * 60 * 1000
const FIRST_AFTER_MS = 60 * 1000

export function integrityOptions(
  { verification: { every, rate }, storage, readonly }: Config,
  { metrics, log, audit }: { readonly metrics: Metrics; readonly log: Log; readonly audit: Log | undefined },
): Pick<StoreOptions, 'verification' | 'onDamagedRecord' | 'scrub'> {
  const onDamage = (damage: PassDamage): void => {
    metrics.damaged()
    const facts = factsOf(damage)
    log.error(
      facts,
      'heals' in damage ? 'a record is damaged' : 'stored content is damaged; pushing it again repairs it',
    )
    audit?.info({ event: 'damage', result: 'keptAt' in damage ? 'done' : 'failed', ...facts }, 'audit')
  }
  const onDamagedRecord = (damage: RecordDamaged): void => onDamage(howToHeal(damage))
  const everyMs = every === 'auto' ? (storage === 'filesystem' ? AUTO_EVERY_MS : 'off') : every
  const verification = { bytesPerSecond: rate, onDamage }
  if (everyMs === 'off' || readonly) return { verification, onDamagedRecord } // how far a pass has come has to be written
  return {
    verification,
    onDamagedRecord,
    scrub: {
      ...verification,
      everyMs,
      firstAfterMs: FIRST_AFTER_MS,
      onEnd: (pass) => log.info(pass, 'everything that is stored was verified'),
      onFailure: (err) => log.error({ err }, 'verification broke off; it goes on in a while'),
    },
  }
}

/** For a log. */
export function factsOf(damage: PassDamage): Readonly<Record<string, unknown>> {
  if ('record' in damage) return { kind: 'record', ...damage }
  if ('repository' in damage) return { kind: 'manifest', ...damage }
  const { cause, ...facts } = damage
  return { kind: 'blob', ...facts, ...(cause === undefined ? {} : { notSetAside: reason(cause) }) }
}

/** For people. */
export function lineOfDamagedRecord(damage: RecordDamaged): string {
  const { record, problem, heals } = howToHeal(damage)
  return `damaged: record ${record} (${problem}); ${heals}`
}
