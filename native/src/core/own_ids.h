// Which ids there are here: a user namespace has those that are mapped into it, and files can belong to no others.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace gantry {

class OwnIds {
 public:
  /// Of this process's user namespace. Read once: whoever enters another one does so before anybody asks.
  static const OwnIds& Get();

  /// Of `uid_map`, `gid_map` and `setgroups` of a process. What cannot be read counts as the host's own.
  OwnIds(const char* uid_map, const char* gid_map, const char* setgroups);

  /// All ids, and all that root may do: no namespace, or the first one.
  bool IsHost() const { return is_host_; }
  bool HasUser(uid_t uid) const { return is_host_ || Has(users_, uid); }
  bool HasGroup(gid_t gid) const { return is_host_ || Has(groups_, gid); }
  /// Who a file of that owner can belong to here: root, in place of somebody whom there is not.
  uid_t UserFor(uid_t uid) const { return HasUser(uid) ? uid : 0; }
  gid_t GroupFor(gid_t gid) const { return HasGroup(gid) ? gid : 0; }
  /// What one of ours is where this namespace was made.
  uid_t OutsideUser(uid_t uid) const;
  /// A namespace that an ordinary user has mapped by himself keeps the groups that he came with (user_namespaces(7)).
  bool MayChangeGroups() const { return may_change_groups_; }

 private:
  struct Range {
    std::uint64_t first;
    std::uint64_t end;
    std::uint64_t outside;  // what the first is there
  };
  static std::vector<Range> ReadMap(const char* path);
  static bool Has(const std::vector<Range>& ranges, std::uint64_t id);

  std::vector<Range> users_;
  std::vector<Range> groups_;
  bool is_host_ = true;
  bool may_change_groups_ = true;
};

}  // namespace gantry
