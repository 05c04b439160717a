// What a layer's files are made of, handled through descriptors: attributes, listings, removal. Nothing follows a link.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/sys.h"

namespace gantry {

struct Attributes {
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  timespec modified = {};
  std::vector<std::pair<std::string, std::string>> xattrs;
};

/// By which overlayfs knows a directory that hides what is below: in a user namespace it has attributes of users only.
const char* OpaqueAttribute();
/// For messages: a name is an image's, and may hold anything. Cut at 200 bytes.
std::string Quoted(const std::string& name);
/// For calls that know paths only: a name in a folder that we hold open. /proc is the host's, which no layer reaches.
std::string ProcPath(int parent, const std::string& name);
/// Order matters: chown clears set-user-id bits and capabilities, and every change but the last moves the time.
/// Attributes that would speak to overlayfs instead of to the container are left out. What belongs to somebody whom
/// this user namespace does not have belongs to root, and says whose it would be. Throws SysError with `doing`, as all
/// do here.
void SetAttributes(int fd, const Attributes& attributes, const std::string& doing);
/// For what cannot be opened without side effects: symbolic links (which have no mode), devices, fifos.
void SetAttributesAt(int parent, const std::string& name, bool with_mode, const Attributes& attributes,
                     const std::string& doing);
/// What SetAttributes would need to make another one like it, elsewhere, too.
Attributes ReadAttributes(const std::string& proc_path, const struct stat& status, const std::string& doing);
void WriteAt(int fd, off_t offset, std::string_view bytes, const std::string& doing);
UniqueFd OpenChild(int parent, const std::string& name, const std::string& doing);
/// Without . and ..
std::vector<std::string> NamesIn(int folder, const std::string& doing);
/// However deep, with a handful of descriptors: what a subdirectory holds is moved up until nothing is nested.
void RemoveTree(int parent, const std::string& name, const std::string& doing);

}  // namespace gantry
