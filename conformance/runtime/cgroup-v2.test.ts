/**
 * The runtime where cgroups are of version 2 alone, as on most hosts and not on those of older or mixed set-up: its own
 * tests, in a virtual machine.
 */
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { debianPackage } from '../support/debian-package.ts'
import { passInMachine, noMachine as skip } from './machine.ts'

/** Those that look at what depends on the kernel: cgroups, security modules, file systems, the scheduler. */
const tests = ['overlay', 'runtime-attributes', 'runtime-cgroup-v2', 'runtime-verbs']

describe('gantry-runtime on a machine with cgroup version 2 alone', { skip }, () => {
  it('passes its tests', async (t) => {
    const parser = join(await debianPackage('apparmor'), 'sbin/apparmor_parser')
    await passInMachine(t, { tests, programs: [parser] })
  })
})
