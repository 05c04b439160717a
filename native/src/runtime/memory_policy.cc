#include "runtime/memory_policy.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "runtime/lookup.h"

namespace gantry {
namespace {

constexpr int kWeightedInterleave = 6;  // MPOL_WEIGHTED_INTERLEAVE, since Linux 6.9

constexpr std::array<Named<int>, 7> kModes = {{
    {"MPOL_DEFAULT", MPOL_DEFAULT},
    {"MPOL_PREFERRED", MPOL_PREFERRED},
    {"MPOL_BIND", MPOL_BIND},
    {"MPOL_INTERLEAVE", MPOL_INTERLEAVE},
    {"MPOL_LOCAL", MPOL_LOCAL},
    {"MPOL_PREFERRED_MANY", MPOL_PREFERRED_MANY},
    {"MPOL_WEIGHTED_INTERLEAVE", kWeightedInterleave},
}};

constexpr std::array<Named<int>, 3> kFlags = {{
    {"MPOL_F_NUMA_BALANCING", MPOL_F_NUMA_BALANCING},
    {"MPOL_F_RELATIVE_NODES", MPOL_F_RELATIVE_NODES},
    {"MPOL_F_STATIC_NODES", MPOL_F_STATIC_NODES},
}};

template <typename Table>
std::vector<std::string_view> Names(const Table& table) {
  std::vector<std::string_view> names;
  for (const auto& row : table) names.push_back(row.name);
  return names;
}

}  // namespace

MemoryPolicy ParseMemoryPolicy(const Field& field) {
  MemoryPolicy policy;
  const auto mode = Lookup(kModes, field["mode"].String());
  if (!mode) field["mode"].Refuse("is no memory policy of Linux");
  policy.mode = *mode;
  policy.nodes = ParseNumberList(field["nodes"]);
  for (const Field& item : field["flags"].Items()) {
    const auto flag = Lookup(kFlags, item.String());
    if (!flag) item.Refuse("is no flag of a memory policy");
    policy.mode |= *flag;
  }
  return policy;
}

bool ApplyMemoryPolicy(const MemoryPolicy& policy) noexcept {
  // The kernel takes one bit less than it is told of.
  const unsigned long bits = policy.nodes.empty() ? 0 : kMostNumbers + 1;
  return ::syscall(SYS_set_mempolicy, policy.mode, policy.nodes.empty() ? nullptr : policy.nodes.data(), bits) == 0;
}

std::vector<std::string_view> MemoryPolicyModes() { return Names(kModes); }
std::vector<std::string_view> MemoryPolicyFlags() { return Names(kFlags); }

}  // namespace gantry
