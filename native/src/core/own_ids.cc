#include "core/own_ids.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>

namespace gantry {
namespace {

constexpr std::uint64_t kAllIds = 4294967295;

std::unique_ptr<FILE, int (*)(FILE*)> Open(const char* path) { return {std::fopen(path, "re"), std::fclose}; }

}  // namespace

const OwnIds& OwnIds::Get() {
  static const OwnIds own("/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups");
  return own;
}

OwnIds::OwnIds(const char* uid_map, const char* gid_map, const char* setgroups)
    : users_(ReadMap(uid_map)), groups_(ReadMap(gid_map)) {
  const auto all = [](const std::vector<Range>& ranges) {
    return ranges.empty() || (ranges.size() == 1 && ranges[0].first == 0 && ranges[0].end == kAllIds);
  };
  is_host_ = all(users_) && all(groups_);
  const auto file = Open(setgroups);
  char word[8] = {};
  if (file && std::fgets(word, sizeof word, file.get()) != nullptr) {
    may_change_groups_ = std::strncmp(word, "deny", 4) != 0;
  }
}

std::vector<OwnIds::Range> OwnIds::ReadMap(const char* path) {
  std::vector<Range> ranges;
  const auto file = Open(path);
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = 0;
  while (file && std::fscanf(file.get(), "%" SCNu64 "%" SCNu64 "%" SCNu64, &inside, &outside, &count) == 3) {
    ranges.push_back({inside, inside + count, outside});
  }
  return ranges;
}

uid_t OwnIds::OutsideUser(uid_t uid) const {
  const auto found =
      std::ranges::find_if(users_, [uid](const Range& range) { return uid >= range.first && uid < range.end; });
  return found == users_.end() ? uid : static_cast<uid_t>(found->outside + (uid - found->first));
}

bool OwnIds::Has(const std::vector<Range>& ranges, std::uint64_t id) {
  return std::ranges::any_of(ranges, [id](const Range& range) { return id >= range.first && id < range.end; });
}

}  // namespace gantry
