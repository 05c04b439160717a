#include "runtime/seccomp_profile.h"

#include <linux/seccomp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

namespace gantry {
namespace {

constexpr unsigned kArguments = 6;
constexpr std::int64_t kMaxErrno = 4095;  // what the kernel gives back at most

struct Action {
  std::string_view name;
  std::uint32_t value;
  bool takes_errno;
};

constexpr std::array<Action, 9> kActions = {{
    {"SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW, false},
    {"SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO, true},
    {"SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD, false},
    {"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS, false},
    {"SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD, false},
    {"SCMP_ACT_LOG", SECCOMP_RET_LOG, false},
    {"SCMP_ACT_NOTIFY", SECCOMP_RET_USER_NOTIF, false},
    {"SCMP_ACT_TRACE", SECCOMP_RET_TRACE, true},
    {"SCMP_ACT_TRAP", SECCOMP_RET_TRAP, false},
}};

struct Operator {
  std::string_view name;
  Comparison comparison;
};

constexpr std::array<Operator, 7> kOperators = {{
    {"SCMP_CMP_EQ", Comparison::kEq},
    {"SCMP_CMP_GE", Comparison::kGe},
    {"SCMP_CMP_GT", Comparison::kGt},
    {"SCMP_CMP_LE", Comparison::kLe},
    {"SCMP_CMP_LT", Comparison::kLt},
    {"SCMP_CMP_MASKED_EQ", Comparison::kMaskedEq},
    {"SCMP_CMP_NE", Comparison::kNe},
}};

struct Machine {
  std::string_view name;
  std::optional<Architecture> architecture;  // none: no machine that we run on has programs of it
};

constexpr std::array<Machine, 23> kMachines = {{
    {"SCMP_ARCH_AARCH64", Architecture::kAarch64},
    {"SCMP_ARCH_ARM", Architecture::kArm},
    {"SCMP_ARCH_LOONGARCH64", std::nullopt},
    {"SCMP_ARCH_M68K", std::nullopt},
    {"SCMP_ARCH_MIPS", std::nullopt},
    {"SCMP_ARCH_MIPS64", std::nullopt},
    {"SCMP_ARCH_MIPS64N32", std::nullopt},
    {"SCMP_ARCH_MIPSEL", std::nullopt},
    {"SCMP_ARCH_MIPSEL64", std::nullopt},
    {"SCMP_ARCH_MIPSEL64N32", std::nullopt},
    {"SCMP_ARCH_PARISC", std::nullopt},
    {"SCMP_ARCH_PARISC64", std::nullopt},
    {"SCMP_ARCH_PPC", std::nullopt},
    {"SCMP_ARCH_PPC64", std::nullopt},
    {"SCMP_ARCH_PPC64LE", std::nullopt},
    {"SCMP_ARCH_RISCV64", std::nullopt},
    {"SCMP_ARCH_S390", std::nullopt},
    {"SCMP_ARCH_S390X", std::nullopt},
    {"SCMP_ARCH_SH", std::nullopt},
    {"SCMP_ARCH_SHEB", std::nullopt},
    {"SCMP_ARCH_X32", Architecture::kX32},
    {"SCMP_ARCH_X86", Architecture::kX86},
    {"SCMP_ARCH_X86_64", Architecture::kX86_64},
}};

template <typename Table>
std::vector<std::string> Names(const Table& table) {
  std::vector<std::string> names;
  for (const auto& row : table) names.emplace_back(row.name);
  return names;
}

template <typename Table>
std::string Join(const Table& table) {
  std::string text;
  for (const std::string& name : Names(table)) text += (text.empty() ? "" : ", ") + name;
  return text;
}

template <typename Table>
const auto& Look(const Table& table, const Field& field) {
  const std::string name = field.String();
  const auto row = std::ranges::find(table, name, [](const auto& each) { return each.name; });
  if (row == table.end()) field.Refuse(QuoteJson(name) + " is not known: must be one of " + Join(table));
  return *row;
}

/// The action and its number, which only some actions have.
std::uint32_t ParseAction(const Field& action, const Field& errno_field) {
  const Action& row = Look(kActions, action);
  if (!row.takes_errno) {
    if (errno_field.Present()) errno_field.Refuse(std::string(row.name) + " has no number");
    return row.value;
  }
  const std::int64_t number = errno_field.Present() ? errno_field.Integer(0, kMaxErrno) : EPERM;
  return row.value | static_cast<std::uint32_t>(number);
}

SeccompCondition ParseCondition(const Field& field) {
  SeccompCondition condition;
  condition.argument = static_cast<unsigned>(field["index"].Integer(0, kArguments - 1));
  condition.comparison = Look(kOperators, field["op"]).comparison;
  condition.value = field["value"].Present() ? field["value"].Unsigned(UINT64_MAX) : 0;
  condition.second = field["valueTwo"].Present() ? field["valueTwo"].Unsigned(UINT64_MAX) : 0;
  return condition;
}

/// As runc reads them: several conditions on one argument are alternatives, a rule each.
void ParseRule(const Field& field, SeccompProfile& profile) {
  SeccompRule rule;
  const std::vector<std::string> names = field["names"].Strings();
  if (names.empty()) field["names"].Refuse("must name a system call");
  rule.calls.reserve(names.size());
  for (const std::string& name : names) {
    if (const CallNumbers* call = FindSystemCall(name)) rule.calls.push_back(call);
  }
  rule.action = ParseAction(field["action"], field["errnoRet"]);
  if (rule.action == SECCOMP_RET_USER_NOTIF) {
    profile.notifies = true;
    if (std::ranges::find(names, "write") != names.end()) {
      field["action"].Refuse("write cannot be notified about: it is what tells of the listener");
    }
  }
  unsigned seen = 0;
  bool alternatives = false;
  for (const Field& item : field["args"].Items()) {
    rule.conditions.push_back(ParseCondition(item));
    const unsigned bit = 1U << rule.conditions.back().argument;
    alternatives = alternatives || (seen & bit) != 0;
    seen |= bit;
  }
  if (!alternatives) {
    profile.rules.push_back(std::move(rule));
    return;
  }
  for (const SeccompCondition& condition : rule.conditions) {
    profile.rules.push_back({rule.calls, rule.action, {condition}});
  }
}

bool Permissive(std::uint32_t action) {
  const std::uint32_t kind = action & SECCOMP_RET_ACTION_FULL;
  return kind == SECCOMP_RET_ALLOW || kind == SECCOMP_RET_LOG || kind == SECCOMP_RET_TRACE;
}

}  // namespace

const std::vector<Architecture>& MachineArchitectures(Architecture native) {
  static const std::vector<Architecture> x86 = {Architecture::kX86_64, Architecture::kX86, Architecture::kX32};
  static const std::vector<Architecture> arm = {Architecture::kAarch64, Architecture::kArm};
  return native == Architecture::kAarch64 ? arm : x86;
}

Architecture NativeArchitecture() {
#if defined(__x86_64__)
  return Architecture::kX86_64;
#elif defined(__aarch64__)
  return Architecture::kAarch64;
#else
#error "gantry-runtime knows the system calls of x86_64 and aarch64"
#endif
}

SeccompProfile ParseSeccomp(const Field& field, Architecture native) {
  SeccompProfile profile;
  profile.default_action = ParseAction(field["defaultAction"], field["defaultErrnoRet"]);
  if (profile.default_action == SECCOMP_RET_USER_NOTIF) {
    field["defaultAction"].Refuse("must not be SCMP_ACT_NOTIFY: write is what tells of the listener");
  }
  profile.unknown_is_enosys =
      !Permissive(profile.default_action) && profile.default_action != (SECCOMP_RET_ERRNO | ENOSYS);

  profile.architectures = {native};  // also where the profile forgets it
  const auto& possible = MachineArchitectures(native);
  for (const Field& item : field["architectures"].Items()) {
    const auto& architecture = Look(kMachines, item).architecture;
    if (!architecture || std::ranges::find(possible, *architecture) == possible.end()) continue;
    if (std::ranges::find(profile.architectures, *architecture) != profile.architectures.end()) continue;
    profile.architectures.push_back(*architecture);
  }

  if (const Field flags = field["flags"]; flags.Present()) {
    std::uint32_t set = 0;
    for (const Field& item : flags.Items()) {
      const std::string name = item.String();
      const auto row = std::ranges::find(SeccompFlags(), name, [](const auto& each) { return each.name; });
      if (row == SeccompFlags().end()) item.Refuse(QuoteJson(name) + " is no flag of seccomp");
      set |= row->flag;
    }
    profile.flags = set;
  }

  for (const Field& item : field["syscalls"].Items()) ParseRule(item, profile);

  profile.listener_path = field["listenerPath"].StringOr("");
  profile.listener_metadata = field["listenerMetadata"].StringOr("");
  if (profile.notifies && profile.listener_path.empty()) {
    field["listenerPath"].Refuse("is required where an action is SCMP_ACT_NOTIFY");
  }
  if (!profile.notifies && !profile.listener_path.empty()) {
    field["listenerPath"].Refuse("is only for profiles with the action SCMP_ACT_NOTIFY");
  }
  if (profile.listener_path.empty() && !profile.listener_metadata.empty()) {
    field["listenerMetadata"].Refuse("is only for profiles with a listenerPath");
  }
  return profile;
}

std::vector<std::string> SeccompActions() { return Names(kActions); }
std::vector<std::string> SeccompOperators() { return Names(kOperators); }

std::vector<std::string> SeccompArchitectures() {
  std::vector<std::string> names;
  const auto& possible = MachineArchitectures(NativeArchitecture());
  for (const Machine& machine : kMachines) {
    if (machine.architecture && std::ranges::find(possible, *machine.architecture) != possible.end()) {
      names.emplace_back(machine.name);
    }
  }
  return names;
}

const std::vector<SeccompFlag>& SeccompFlags() {
  static const std::vector<SeccompFlag> flags = {
      {"SECCOMP_FILTER_FLAG_TSYNC", 0},
      {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
      {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
      {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
  };
  return flags;
}

}  // namespace gantry
