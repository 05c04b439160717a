/** The runtime where systemd is process 1, and makes the containers' cgroups: its own tests, in a virtual machine. */
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { debianPackage } from '../support/debian-package.ts'
import { librariesOf } from '../support/virtual-machine.ts'
import { filesBelow, passInMachine, noMachine as skip } from './machine.ts'

const SET_UP = fileURLToPath(new URL('systemd-root', import.meta.url))
/** Of Debian; the other libraries of these are on every machine that has Debian. */
const PACKAGES = [
  ...[
    'systemd',
    'libsystemd-shared',
    'dbus',
    'dbus-user-session',
    'dbus-daemon',
    'dbus-system-bus-common',
    'dbus-session-bus-common',
    'runc',
  ],
  ...['libapparmor1', 'libdbus-1-3', 'libexpat1', 'libip4tc2', 'libkmod2', 'libseccomp2', 'libssl3'],
]
const PROGRAMS = ['/lib/systemd/systemd', '/bin/systemctl', '/usr/bin/dbus-daemon', '/usr/sbin/runc']
/** What a machine that only runs the tests has of units. */
const UNITS =
  /^\/(usr\/)?lib\/systemd\/(system|user)\/(basic|sysinit|sockets|shutdown|timers|paths)\.target$|\/dbus\.(socket|service)$/

describe('gantry-runtime where systemd makes the cgroups', { skip }, () => {
  it('passes its tests', async (t) => {
    const trees = await Promise.all(PACKAGES.map(debianPackage))
    const contents = await Promise.all(trees.map((tree) => filesBelow(tree)))
    const all = new Map(contents.flatMap((files) => [...files]))
    const folders = new Set(
      [...all].flatMap(([path, source]) => (/\.so[.\d]*$/.test(path) ? [join(source, '..')] : [])),
    )
    const files = new Map([...all].filter(([path]) => UNITS.test(path) || path.startsWith('/usr/share/dbus-1/')))
    const placeOf = new Map([...all].map(([path, source]) => [source, path]))
    for (const program of PROGRAMS) {
      const source = all.get(program)
      if (source === undefined) throw new Error(`none of Debian's packages has ${program}`)
      files.set(program, source)
      for (const library of await librariesOf(source, [...folders])) files.set(placeOf.get(library) ?? library, library)
    }
    for (const [path, source] of await filesBelow(SET_UP)) files.set(path, source)
    await passInMachine(t, { tests: ['runtime-systemd'], files })
  })
})
