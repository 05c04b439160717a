// The defences against attacks that somebody has published, and of what unpacks layers, by name. A build of the tests
// leaves one of them out (`make build/without/NAME/gantry-runtime`, or `gantry.node`), which proves that the test's
// attack would succeed without it. In any other build `Has` is true and costs nothing.
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

  // Of what unpacks layers.
  kRootedLayers,        // the kernel resolves paths of a layer inside of its folder
  kNoWayUp,             // no name of a layer has a `..` in it
  kNewFiles,            // a file is made anew, and nothing that is there, nor what a link there leads to, is written to
  kLinksNotFollowed,    // a hard link to a symbolic link is one to the link
  kOwnAttributes,       // what an entry says of itself is said to it, and not to what a symbolic link leads to
  kDirectoriesAreMade,  // attributes of a directory go to the one that was made, whatever has its name by the end
  kLowerNotFollowed,    // links to files of layers below are looked for without following a symbolic link
  kOwnWhiteouts,        // no device is taken that overlayfs would read as a whiteout
  kNamedWhiteouts,      // a whiteout names an entry of its own directory
  kNoOverlayAttributes,  // attributes that speak to overlayfs are not an image's to set
  kNoDevices,            // no device works where containers see an image
  kFewEntries,           // entries, devices, names and attributes are counted
  kBoundedTar,           // a tar is so much larger than its blob, and not more
  kWholeNames,           // a name with a NUL would be another one to the kernel
  kOwnersInRange,        // owners are refused whose number would wrap to root's
  kMapsInRange,          // the pieces of a sparse file are in order, and inside of it
  kNothingBehindTheEnd,  // an archive does not go on behind what others take for its end
  kRightDigest,          // the tar is the one that the image's configuration names
};

#ifdef GANTRY_WITHOUT
consteval bool Has(Defence defence) { return defence != Defence::GANTRY_WITHOUT; }
#else
consteval bool Has(Defence) { return true; }
#endif

}  // namespace gantry
