/** Which of root's rights a container's processes may have at most. Docker's rules, and its default set without CAP_MKNOD. */
import type { SecurityRequest } from './request.ts'
import { RequestError } from './request-error.ts'

export const CAPABILITIES: readonly string[] = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
]

/** All that Linux knows (capabilities(7)); those of the host's own limits are left out by the runtime. */
const ALL: readonly string[] = [
  ...CAPABILITIES,
  ...'AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BROADCAST PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM'
    .split(' ')
    .map((name) => `CAP_${name}`),
].toSorted()

/** In the order of their names. Throws `RequestError`. */
export function chosenCapabilities(request: SecurityRequest): readonly string[] {
  const added = normalized(request.addedCapabilities ?? [], '--cap-add')
  const dropped = normalized(request.droppedCapabilities ?? [], '--cap-drop')
  if (request.privileged) return ALL
  if (added.has('ALL')) return ALL.filter((name) => !dropped.has(name) && !dropped.has('ALL'))
  const basis = dropped.has('ALL') ? [] : CAPABILITIES.filter((name) => !dropped.has(name))
  return [...new Set([...basis, ...added])].toSorted()
}

function normalized(names: readonly string[], flag: string): ReadonlySet<string> {
  return new Set(
    names.map((name) => {
      const upper = name.toUpperCase()
      if (upper === 'ALL') return upper
      const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`
      if (!ALL.includes(full))
        throw new RequestError(
          `invalid ${flag}: unknown capability ${JSON.stringify(name)}; capabilities(7) lists them, ALL means all`,
        )
      return full
    }),
  )
}
