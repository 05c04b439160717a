/**
 * The system calls that a container may make unless it is told otherwise. What is listed is allowed; all else fails with EPERM, and what is
 * newer than the list with ENOSYS. Modelled on the current profile of Moby. Where it differs, and why:
 * - x32 programs are killed: nobody ships any, and the second numbering doubles what has to be right.
 * - 32-bit x86 programs may not call `socketcall`, unless the image itself is for that platform: a filter cannot see the address
 *   family behind its pointer, so it is a way around the families that are refused.
 */

export interface SeccompRule {
  readonly names: readonly string[]
  readonly action: string
  readonly errnoRet?: number
  readonly args?: readonly SeccompCondition[]
}

interface SeccompCondition {
  readonly index: number
  readonly value: number
  readonly valueTwo?: number
  readonly op: string
}

/** `linux.seccomp` of the runtime specification, as far as it is used here. */
export interface SeccompProfile {
  readonly defaultAction: string
  readonly defaultErrnoRet?: number
  readonly architectures?: readonly string[]
  readonly flags?: readonly string[]
  readonly listenerPath?: string
  readonly listenerMetadata?: string
  readonly syscalls: readonly SeccompRule[]
}

const words = (text: string): readonly string[] => text.trim().split(/\s+/)

const ALLOWED = words(`
  ${'' /* files by path and by descriptor */}
  access chdir chmod chown chown32 creat faccessat faccessat2 fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fstat
  fstat64 fstatat64 fstatfs fstatfs64 futimesat getcwd lchown lchown32 link linkat lstat lstat64 mkdir mkdirat mknod mknodat
  name_to_handle_at newfstatat open openat openat2 readlink readlinkat rename renameat renameat2 rmdir stat stat64 statfs statfs64
  statx symlink symlinkat truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes
  listmount statmount
  cachestat close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 fallocate fcntl fcntl64 fdatasync flock fsync
  ftruncate ftruncate64 getdents getdents64 ioctl _llseek lseek pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
  readahead readv sendfile sendfile64 splice sync sync_file_range syncfs tee vmsplice write writev
  fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr lremovexattr lsetxattr
  removexattr removexattrat setxattr setxattrat

  ${'' /* waiting for events */}
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
  fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
  io_pgetevents_time64 io_setup io_submit _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select

  ${'' /* memory */}
  brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal
  msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages

  ${'' /* processes, threads and their schedules */}
  execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake getcpu getpgid getpgrp
  getpid getppid getpriority getrlimit get_robust_list getrusage getsid get_thread_area gettid ioprio_get ioprio_set pidfd_open
  pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq
  sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
  sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
  setpgid setpriority setrlimit set_robust_list setsid set_thread_area set_tid_address ugetrlimit uretprobe vfork wait4 waitid
  waitpid

  ${'' /* signals */}
  alarm getitimer kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
  rt_sigtimedwait_time64 rt_tgsigqueueinfo setitimer sigaltstack signalfd signalfd4 sigprocmask sigreturn tgkill tkill

  ${'' /* clocks and timers; who may change a clock is the kernel's affair */}
  adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
  clock_nanosleep_time64 gettimeofday nanosleep time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
  timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times

  ${'' /* users, groups and privileges */}
  capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid
  getresuid32 getuid getuid32 landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp setfsgid setfsgid32 setfsuid
  setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
  setreuid32 setuid setuid32

  ${'' /* sockets, once one is open */}
  accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg
  sendmsg sendto setsockopt shutdown socketpair

  ${'' /* messages, semaphores and shared memory */}
  ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget
  msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget

  ${'' /* the machine */}
  getrandom sysinfo uname

  ${'' /* one architecture's own */}
  arch_prctl modify_ldt arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls
`)

/** What a capability is for is of no use without these calls; who has it may make them. */
const FOR_CAPABILITY: Readonly<Record<string, readonly string[]>> = {
  CAP_BPF: ['bpf'],
  CAP_DAC_READ_SEARCH: ['open_by_handle_at'],
  CAP_PERFMON: ['perf_event_open'],
  CAP_SYS_ADMIN: words(`
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr
    mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount
    umount2 unshare`),
  CAP_SYS_BOOT: ['reboot'],
  CAP_SYS_CHROOT: ['chroot'],
  CAP_SYS_MODULE: ['delete_module', 'finit_module', 'init_module'],
  CAP_SYS_NICE: ['get_mempolicy', 'mbind', 'set_mempolicy', 'set_mempolicy_home_node'],
  CAP_SYS_PACCT: ['acct'],
  CAP_SYS_PTRACE: ['kcmp', 'pidfd_getfd', 'process_madvise'],
  CAP_SYS_RAWIO: ['ioperm', 'iopl'],
  CAP_SYS_TIME: ['clock_settime', 'clock_settime64', 'settimeofday', 'stime'],
  CAP_SYS_TTY_CONFIG: ['vhangup'],
  CAP_SYSLOG: ['syslog'],
}

/** All below 12 (unix, inet, inet6 and their age), and these. Not AF_ALG (38) and AF_VSOCK (40), which leads to the hypervisor. */
const FIRST_REFUSED_FAMILY = 12
const ALLOWED_FAMILIES = [
  13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45,
]

/** Linux by default, SVr4's meaning of page 0 and so on: what `setarch` asks for; 0xffffffff only asks which it is. */
const ALLOWED_PERSONALITIES = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff]

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const NEW_NAMESPACES = 0x7e020000
const ENOSYS = 38
const EPERM = 1

const ARCHITECTURES: Readonly<Record<string, readonly string[]>> = {
  amd64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
  '386': ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
  arm: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
}

const allow = (names: readonly string[], ...args: readonly SeccompCondition[]): SeccompRule => ({
  names,
  action: 'SCMP_ACT_ALLOW',
  ...(args.length > 0 ? { args } : {}),
})

/** The profile for an image of that architecture (`amd64`), with the capabilities that its processes may have. */
export function defaultSeccomp(architecture: string, capabilities: readonly string[]): SeccompProfile {
  const extra = capabilities.flatMap((name) => FOR_CAPABILITY[name] ?? [])
  const rules = [
    allow(ALLOWED),
    allow(['socket'], { index: 0, value: FIRST_REFUSED_FAMILY, op: 'SCMP_CMP_LT' }),
    ...ALLOWED_FAMILIES.map((value) => allow(['socket'], { index: 0, value, op: 'SCMP_CMP_EQ' })),
    ...ALLOWED_PERSONALITIES.map((value) => allow(['personality'], { index: 0, value, op: 'SCMP_CMP_EQ' })),
  ]
  if (architecture === '386') rules.push(allow(['socketcall']))
  if (extra.length > 0) rules.push(allow([...new Set(extra)].sort()))
  if (!capabilities.includes('CAP_SYS_ADMIN')) {
    rules.push(allow(['clone'], { index: 0, value: NEW_NAMESPACES, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }))
    // Its flags are behind a pointer. The C library tries clone then.
    rules.push({ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS })
  }
  const architectures = ARCHITECTURES[architecture]
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    ...(architectures ? { architectures } : {}),
    syscalls: rules,
  }
}
