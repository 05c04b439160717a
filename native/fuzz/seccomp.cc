// The compiler of seccomp profiles: whatever the profile, its program answers to any system call what the profile says,
// read rule by rule.
#include <fuzzer/FuzzedDataProvider.h>
#include <linux/audit.h>
#include <linux/seccomp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "fuzz.h"
#include "runtime/seccomp_compile.h"

namespace gantry::fuzz {
namespace {

constexpr std::uint32_t kX32Bit = 0x40000000;
constexpr std::uint32_t kArmPrivate = 0x0f0000;
constexpr std::uint32_t kSkipped = 0xffffffff;

constexpr std::array kActions = {std::uint32_t{SECCOMP_RET_ALLOW},       std::uint32_t{SECCOMP_RET_ERRNO | EPERM},
                                 std::uint32_t{SECCOMP_RET_ERRNO | 38},  std::uint32_t{SECCOMP_RET_ERRNO | 7},
                                 std::uint32_t{SECCOMP_RET_KILL_THREAD}, std::uint32_t{SECCOMP_RET_KILL_PROCESS},
                                 std::uint32_t{SECCOMP_RET_LOG},         std::uint32_t{SECCOMP_RET_TRACE | 1},
                                 std::uint32_t{SECCOMP_RET_TRAP},        std::uint32_t{SECCOMP_RET_USER_NOTIF}};
constexpr std::array kAudits = {std::uint32_t{AUDIT_ARCH_X86_64}, std::uint32_t{AUDIT_ARCH_I386},
                                std::uint32_t{AUDIT_ARCH_AARCH64}, std::uint32_t{AUDIT_ARCH_ARM},
                                std::uint32_t{AUDIT_ARCH_S390X}};
constexpr std::array kNames = {"read",  "openat",          "socket",     "personality", "clone3",
                               "ioctl", "futex_waitv",     "clone",      "mmap2",       "write",
                               "prctl", "restart_syscall", "cacheflush", "mount",       "io_uring_setup"};

/// Numbers where comparisons go wrong are as likely as any other.
std::uint64_t Number(FuzzedDataProvider& from) {
  constexpr std::array<std::uint64_t, 8> kEdges = {0,          1,           0x7fffffff, 0x80000000,
                                                   0xffffffff, 0x100000000, 1ULL << 63, ~0ULL};
  return from.ConsumeBool() ? from.PickValueInArray(kEdges) : from.ConsumeIntegral<std::uint64_t>();
}

SeccompProfile MakeProfile(FuzzedDataProvider& from) {
  SeccompProfile profile;
  profile.default_action = from.PickValueInArray(kActions);
  profile.unknown_is_enosys = from.ConsumeBool();
  const auto& machine = MachineArchitectures(from.ConsumeBool() ? Architecture::kX86_64 : Architecture::kAarch64);
  profile.architectures = {machine.front()};
  for (std::size_t i = 1; i < machine.size(); ++i) {
    if (from.ConsumeBool()) profile.architectures.push_back(machine[i]);
  }
  const auto rules = from.ConsumeIntegralInRange<std::size_t>(0, 24);
  for (std::size_t i = 0; i < rules; ++i) {
    SeccompRule rule;
    rule.action = from.PickValueInArray(kActions);
    const auto calls = from.ConsumeIntegralInRange<std::size_t>(1, 4);
    for (std::size_t call = 0; call < calls; ++call) {
      if (const CallNumbers* numbers = FindSystemCall(from.PickValueInArray(kNames))) rule.calls.push_back(numbers);
    }
    const auto conditions = from.ConsumeIntegralInRange<std::size_t>(0, 3);
    for (std::size_t condition = 0; condition < conditions; ++condition) {
      rule.conditions.push_back({.argument = from.ConsumeIntegralInRange<unsigned>(0, 5),
                                 .comparison = static_cast<Comparison>(from.ConsumeIntegralInRange<int>(0, 6)),
                                 .value = Number(from),
                                 .second = Number(from)});
    }
    profile.rules.push_back(std::move(rule));
  }
  return profile;
}

bool Holds(const SeccompCondition& condition, std::uint64_t argument, bool wide) {
  const auto seen = [&](std::uint64_t number) { return wide ? number : number & 0xffffffff; };
  const std::uint64_t given = seen(argument);
  const std::uint64_t value = seen(condition.value);
  switch (condition.comparison) {
    case Comparison::kNe:
      return given != value;
    case Comparison::kLt:
      return given < value;
    case Comparison::kLe:
      return given <= value;
    case Comparison::kEq:
      return given == value;
    case Comparison::kGe:
      return given >= value;
    case Comparison::kGt:
      return given > value;
    case Comparison::kMaskedEq:
      return (given & value) == seen(condition.second);
  }
  return false;
}

/// Which architecture a call is of, if the profile lists it; `number` becomes what it is there.
std::optional<Architecture> ArchitectureOf(const SeccompProfile& profile, std::uint32_t audit, std::uint32_t& number) {
  Architecture found = Architecture::kX86_64;
  if (audit == AUDIT_ARCH_X86_64) {
    if (number >= kX32Bit && number != kSkipped) {
      found = Architecture::kX32;
      number -= kX32Bit;
    }
  } else if (audit == AUDIT_ARCH_I386) {
    found = Architecture::kX86;
  } else if (audit == AUDIT_ARCH_AARCH64) {
    found = Architecture::kAarch64;
  } else if (audit == AUDIT_ARCH_ARM) {
    found = Architecture::kArm;
  } else {
    return std::nullopt;
  }
  const bool listed = std::ranges::find(profile.architectures, found) != profile.architectures.end();
  return listed ? std::optional(found) : std::nullopt;
}

/// The answer by the words of seccomp_compile.h, without any cleverness.
std::uint32_t Read(const SeccompProfile& profile, const seccomp_data& call) {
  auto number = static_cast<std::uint32_t>(call.nr);
  const auto architecture = ArchitectureOf(profile, call.arch, number);
  if (!architecture) return SECCOMP_RET_KILL_PROCESS;
  const bool wide = *architecture == Architecture::kX86_64 || *architecture == Architecture::kAarch64;
  std::int64_t newest = -1;
  bool is_named = false;  // as one of ARM's own calls may be, which are beyond all others
  std::optional<std::uint32_t> with_conditions;
  std::optional<std::uint32_t> without;
  for (const SeccompRule& rule : profile.rules) {
    bool named = false;
    for (const CallNumbers* numbers : rule.calls) {
      const int own = (*numbers)[static_cast<std::size_t>(*architecture)];
      if (own >= 0 && static_cast<std::uint32_t>(own) < kArmPrivate) newest = std::max<std::int64_t>(newest, own);
      named = named || (own >= 0 && static_cast<std::uint32_t>(own) == number);
    }
    if (!named) continue;
    is_named = true;
    if (rule.conditions.empty()) {
      if (!without) without = rule.action;
    } else if (!with_conditions && std::ranges::all_of(rule.conditions, [&](const SeccompCondition& condition) {
                 return Holds(condition, call.args[condition.argument], wide);
               })) {
      with_conditions = rule.action;
    }
  }
  if (with_conditions) return *with_conditions;
  if (without) return *without;
  const bool skipped = *architecture == Architecture::kX86_64 && number == kSkipped;
  const bool is_new = skipped || (newest >= 0 && number > newest && !is_named);
  return is_new && profile.unknown_is_enosys ? SECCOMP_RET_ERRNO | ENOSYS : profile.default_action;
}

/// The kernel's machine; it refuses what the kernel's checker refuses.
std::uint32_t Run(const std::vector<sock_filter>& program, const seccomp_data& call) {
  std::uint32_t accumulator = 0;
  for (std::size_t at = 0;; ++at) {
    Expect(at < program.size(), "a program ends with an answer");
    const sock_filter& each = program[at];
    switch (each.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        Expect(each.k % 4 == 0 && each.k <= sizeof call - 4, "what is loaded is of the call");
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&call) + each.k, sizeof accumulator);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        accumulator &= each.k;
        break;
      case BPF_JMP | BPF_JA:
        at += each.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        at += accumulator == each.k ? each.jt : each.jf;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        at += accumulator > each.k ? each.jt : each.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        at += accumulator >= each.k ? each.jt : each.jf;
        break;
      case BPF_RET | BPF_K:
        return each.k;
      default:
        Expect(false, "instructions are those that the kernel takes");
    }
  }
}

/// Half of them are calls that the profile names, and their neighbours.
std::uint32_t CallNumber(FuzzedDataProvider& from, std::uint32_t audit) {
  if (from.ConsumeBool()) return from.ConsumeIntegral<std::uint32_t>();
  const CallNumbers* numbers = FindSystemCall(from.PickValueInArray(kNames));
  if (numbers == nullptr) return kSkipped;
  const auto architecture = audit == AUDIT_ARCH_I386      ? Architecture::kX86
                            : audit == AUDIT_ARCH_AARCH64 ? Architecture::kAarch64
                            : audit == AUDIT_ARCH_ARM     ? Architecture::kArm
                            : from.ConsumeBool()          ? Architecture::kX32
                                                          : Architecture::kX86_64;
  const int own = (*numbers)[static_cast<std::size_t>(architecture)];
  const std::uint32_t bit = architecture == Architecture::kX32 ? kX32Bit : 0;
  return (static_cast<std::uint32_t>(own) + from.ConsumeIntegralInRange<std::uint32_t>(0, 2) - 1) | bit;
}

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gantry;
  FuzzedDataProvider from(data, size);
  const SeccompProfile profile = fuzz::MakeProfile(from);
  const std::vector<sock_filter> program = CompileSeccomp(profile);
  fuzz::Expect(program.size() <= BPF_MAXINSNS, "a program is as long as the kernel takes");
  do {
    seccomp_data call{};
    call.arch = from.PickValueInArray(fuzz::kAudits);
    call.nr = static_cast<int>(fuzz::CallNumber(from, call.arch));
    for (auto& argument : call.args) argument = fuzz::Number(from);
    fuzz::Expect(fuzz::Run(program, call) == fuzz::Read(profile, call), "a program answers as its profile reads");
  } while (from.remaining_bytes() > 0);
  return 0;
}
