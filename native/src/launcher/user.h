// Who a process of a container runs as, from the container's own passwd and group files: client/containers/user.ts says
// what the rules are, and why.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gantry {

struct ResolvedUser {
  std::uint32_t uid;
  std::uint32_t gid;
  std::vector<std::uint32_t> additional_gids;  // the user's own among them
  std::string home;
};

/// The texts of `/etc/passwd` and `/etc/group`; empty where there is none.
struct AccountFiles {
  std::string passwd;
  std::string group;
};

/// Links in `rootfs` are followed inside of it only. Throws an exception for what is no small file.
AccountFiles ReadAccountFiles(const std::string& rootfs);

/// `specification`: `USER[:GROUP]`. Throws Unclear for whom there is not, and for what is not ASCII.
ResolvedUser ResolveUser(std::string_view specification, const AccountFiles& files);

}  // namespace gantry
