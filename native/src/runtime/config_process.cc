// `process` of config.json, and the same document by itself as `exec` takes it.
#include <sys/resource.h>

#include <algorithm>

#include "core/defence.h"
#include "runtime/capabilities.h"
#include "runtime/config.h"
#include "runtime/field.h"
#include "runtime/lookup.h"

namespace gantry {
namespace {

constexpr std::array<Named<int>, 16> kRlimits = {{
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
}};

std::uint64_t ParseCapabilitySet(const Field& field, std::uint64_t grantable, std::vector<std::string>& warnings) {
  std::uint64_t set = 0;
  for (const Field& item : field.Items()) {
    const std::string name = item.String();
    const auto bit = CapabilityBit(name);
    if (!bit) {
      warnings.push_back(item.path() + ": unknown capability " + QuoteJson(name) + " is left out");
    } else if (((grantable >> *bit) & 1) == 0) {
      warnings.push_back(item.path() + ": " + name + " is left out: the runtime itself does not have it");
    } else {
      set |= std::uint64_t{1} << *bit;
    }
  }
  return set;
}

std::vector<RlimitConfig> ParseRlimits(const Field& field) {
  std::vector<RlimitConfig> rlimits;
  for (const Field& item : field.Items()) {
    const auto resource = Lookup(kRlimits, item["type"].String());
    if (!resource) item["type"].Refuse("is no resource limit of Linux");
    const RlimitConfig limit{*resource, item["soft"].Unsigned(UINT64_MAX), item["hard"].Unsigned(UINT64_MAX)};
    if (limit.soft > limit.hard) item["soft"].Refuse("is above the hard limit");
    if (std::ranges::any_of(rlimits, [&](const auto& other) { return other.resource == limit.resource; })) {
      item["type"].Refuse("is given twice");
    }
    rlimits.push_back(limit);
  }
  return rlimits;
}

}  // namespace

ProcessConfig ParseProcess(const Field& field, std::uint64_t grantable, std::vector<std::string>& warnings) {
  field["selinuxLabel"].RefuseUnsupported("SELinux");

  ProcessConfig process;
  process.terminal = field["terminal"].BoolOr(false);
  if (const Field size = field["consoleSize"]; process.terminal && size.Present()) {
    process.rows = static_cast<unsigned short>(size["height"].Integer(0, 65535));
    process.columns = static_cast<unsigned short>(size["width"].Integer(0, 65535));
  }
  const Field user = field["user"];
  constexpr std::int64_t kMost = Has(Defence::kStrictIds) ? kMaxId : INT64_MAX;
  if (user["uid"].Present()) process.uid = static_cast<std::uint32_t>(user["uid"].Integer(0, kMost));
  if (user["gid"].Present()) process.gid = static_cast<std::uint32_t>(user["gid"].Integer(0, kMost));
  if (user["umask"].Present()) process.umask = static_cast<std::uint32_t>(user["umask"].Integer(0, 0777));
  for (const Field& gid : user["additionalGids"].Items()) {
    process.additional_gids.push_back(static_cast<std::uint32_t>(gid.Integer(0, kMaxId)));
  }
  process.args = field["args"].Strings();
  if (process.args.empty()) field["args"].Refuse("must name a program");
  if (process.args[0].empty()) field["args"].Refuse("the program's name must not be empty");
  process.env = field["env"].Strings();
  const std::string cwd = field["cwd"].String();
  if (!cwd.starts_with('/')) field["cwd"].Refuse("must be an absolute path");
  process.cwd = cwd;  // as it is: the kernel resolves it inside the container, as the container's user
  const Field capabilities = field["capabilities"];
  process.capabilities = {
      .bounding = ParseCapabilitySet(capabilities["bounding"], grantable, warnings),
      .effective = ParseCapabilitySet(capabilities["effective"], grantable, warnings),
      .permitted = ParseCapabilitySet(capabilities["permitted"], grantable, warnings),
      .inheritable = ParseCapabilitySet(capabilities["inheritable"], grantable, warnings),
      .ambient = ParseCapabilitySet(capabilities["ambient"], grantable, warnings),
  };
  if (!Has(Defence::kNothingInheritable)) process.capabilities.inheritable = process.capabilities.permitted;
  process.rlimits = ParseRlimits(field["rlimits"]);
  process.no_new_privileges = field["noNewPrivileges"].BoolOr(false);
  if (const Field score = field["oomScoreAdj"]; score.Present()) {
    process.oom_score_adj = static_cast<int>(score.Integer(-1000, 1000));
  }
  process.apparmor_profile = field["apparmorProfile"].StringOr("");
  process.scheduling = ParseScheduling(field);
  return process;
}

}  // namespace gantry
