// The defences against attacks that somebody has published, by name. A build of the tests leaves one of them out
// (`make build/without/NAME/gantry-runtime`), which proves that the test's attack would succeed without it. In any
// other build `Has` is true and costs nothing.
#pragma once

namespace gantry {

enum class Defence {
  kReadOnlySelf,      // what runs in a container's namespaces is a read-only clone of the executable
  kNotDumpable,       // before its program runs, nobody inside may look into a process of ours
  kNothingInherited,  // every descriptor of the host is closed before the working directory is entered, which is looked
                      // at
  kProcIsProc,        // nothing is mounted on or inside /proc but what shows the processes
  kHostProc,          // what is written to /proc goes there before any file of the image can stand in its way
  kRootedPaths,       // the kernel resolves paths of the image and the configuration inside of the root
  kHostNull,          // what covers a masked file is the host's /dev/null, and a device that is there has to be the one
  kConsoleNotFollowed,  // the terminal is mounted on no symlink
  kNothingInheritable,  // capabilities are inherited as far as the configuration says, which is not at all by default
  kReadOnlyCgroups,     // cgroups of the host that a rootless container sees cannot be written
  kCheckedLengths,      // lengths in a message are compared with what arrived
  kStrictIds,           // ids that would wrap are refused
  kOwnSession,          // the terminal of the caller does not control the container
};

#ifdef GANTRY_WITHOUT
consteval bool Has(Defence defence) { return defence != Defence::GANTRY_WITHOUT; }
#else
consteval bool Has(Defence) { return true; }
#endif

}  // namespace gantry
