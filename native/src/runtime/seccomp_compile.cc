#include "runtime/seccomp_compile.h"

#include <linux/audit.h>
#include <linux/elf-em.h>
#include <linux/seccomp.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <map>
#include <ranges>
#include <span>

namespace gantry {
namespace {

constexpr std::uint32_t kX32Bit = 0x40000000;
constexpr std::uint32_t kArmPrivate = 0x0f0000;  // calls of ARM alone; they say nothing about how new a profile is
constexpr std::uint32_t kNoCall = 0xffffffff;    // what a tracer writes to have a call skipped

/// A place in the program, counted from its end, where it is written first: a jump only ever goes forward.
using Label = std::size_t;

/// Writes a program from its last instruction to its first.
class Assembler {
 public:
  Label Emit(std::uint16_t code, std::uint32_t k) {
    reversed_.push_back({code, 0, 0, k});
    return reversed_.size() - 1;
  }

  /// The instruction that ends with that action, near enough to be jumped to from here.
  Label Return(std::uint32_t action) {
    const auto known = returns_.find(action);
    if (known != returns_.end() && InReach(known->second)) return known->second;
    return returns_[action] = Emit(BPF_RET | BPF_K, action);
  }

  Label Jump(std::uint16_t test, std::uint32_t k, Label yes, Label no) {
    yes = Near(yes);
    no = Near(no);
    const std::size_t at = reversed_.size();
    reversed_.push_back({static_cast<std::uint16_t>(BPF_JMP | BPF_K | test), static_cast<std::uint8_t>(at - 1 - yes),
                         static_cast<std::uint8_t>(at - 1 - no), k});
    return at;
  }

  Label Load(std::size_t offset) { return Emit(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)); }

  /// Makes what is written next go on at `label`, not at what was written last.
  void GoOn(Label label) {
    if (label + 1 != reversed_.size()) Emit(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(reversed_.size() - 1 - label));
  }

  /// Whether both places do the same: they are one, or both end alike.
  bool Same(Label one, Label other) const {
    const sock_filter& a = reversed_[one];
    const sock_filter& b = reversed_[other];
    return one == other || (a.code == (BPF_RET | BPF_K) && b.code == a.code && a.k == b.k);
  }

  std::vector<sock_filter> Finish() const { return {reversed_.rbegin(), reversed_.rend()}; }

 private:
  /// With room for the one instruction that the jump's other target may need.
  bool InReach(Label label) const { return reversed_.size() - label < 250; }

  Label Near(Label label) {
    if (InReach(label)) return label;
    const sock_filter& target = reversed_[label];
    if (BPF_CLASS(target.code) == BPF_RET) return Return(target.k);
    return Emit(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(reversed_.size() - 1 - label));
  }

  std::vector<sock_filter> reversed_;
  std::map<std::uint32_t, Label> returns_;
};

bool Is64Bit(Architecture architecture) {
  return architecture == Architecture::kX86_64 || architecture == Architecture::kAarch64;
}

std::uint32_t AuditNumber(Architecture architecture) {
  switch (architecture) {
    case Architecture::kX86_64:
    case Architecture::kX32:
      return AUDIT_ARCH_X86_64;
    case Architecture::kX86:
      return AUDIT_ARCH_I386;
    case Architecture::kAarch64:
      return AUDIT_ARCH_AARCH64;
    case Architecture::kArm:
      return AUDIT_ARCH_ARM;
  }
  return 0;
}

/// Goes to `yes` if the condition holds. Programs see 64 bits of each argument; those of 32-bit architectures have no
/// more than 32, and there the profile's numbers are cut as libseccomp cuts them.
Label Test(Assembler& out, const SeccompCondition& condition, bool wide, Label yes, Label no) {
  const std::size_t low = offsetof(seccomp_data, args) + 8 * condition.argument;  // both machines are little-endian
  const auto low_of = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  const auto high_of = [](std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); };
  const std::uint64_t value = condition.value;
  const auto ordered = [&](std::uint16_t last, Label then, Label otherwise) {
    out.Jump(last, low_of(value), then, otherwise);
    Label at = out.Load(low);
    if (!wide) return at;
    at = out.Jump(BPF_JEQ, high_of(value), at, otherwise);
    if (last != BPF_JEQ) at = out.Jump(BPF_JGT, high_of(value), then, at);
    return out.Load(low + 4);
  };
  switch (condition.comparison) {
    case Comparison::kEq:
      return ordered(BPF_JEQ, yes, no);
    case Comparison::kNe:
      return ordered(BPF_JEQ, no, yes);
    case Comparison::kGt:
      return ordered(BPF_JGT, yes, no);
    case Comparison::kLe:
      return ordered(BPF_JGT, no, yes);
    case Comparison::kGe:
      return ordered(BPF_JGE, yes, no);
    case Comparison::kLt:
      return ordered(BPF_JGE, no, yes);
    case Comparison::kMaskedEq:
      break;
  }
  out.Jump(BPF_JEQ, low_of(condition.second), yes, no);
  out.Emit(BPF_ALU | BPF_AND | BPF_K, low_of(value));
  Label at = out.Load(low);
  if (!wide) return at;
  out.Jump(BPF_JEQ, high_of(condition.second), at, no);
  out.Emit(BPF_ALU | BPF_AND | BPF_K, high_of(value));
  return out.Load(low + 4);
}

/// One call and one rule, by its place in the profile.
struct Named {
  std::uint32_t call;
  std::size_t rule;
  auto operator<=>(const Named&) const = default;
};

/// From this number on, up to the next range, all calls are answered alike.
struct Range {
  std::uint32_t first;
  Label answer;
};

class Compiler {
 public:
  explicit Compiler(const SeccompProfile& profile) : profile_(profile) {}

  std::vector<sock_filter> Run() {
    std::vector<std::pair<std::uint32_t, Label>> sections;
    for (const Architecture architecture : profile_.architectures) {
      if (architecture == Architecture::kX32) continue;  // shares the number of x86_64
      sections.emplace_back(AuditNumber(architecture), Section(architecture));
    }
    Label at = out_.Return(SECCOMP_RET_KILL_PROCESS);
    for (auto section = sections.rbegin(); section != sections.rend(); ++section) {
      at = out_.Jump(BPF_JEQ, section->first, section->second, at);
    }
    out_.Load(offsetof(seccomp_data, arch));
    return out_.Finish();
  }

 private:
  /// Everything about the calls of one AUDIT_ARCH.
  Label Section(Architecture architecture) {
    std::vector<Range> ranges;
    Append(ranges, architecture, 0);
    if (architecture == Architecture::kX86_64) {
      if (std::ranges::find(profile_.architectures, Architecture::kX32) != profile_.architectures.end()) {
        Append(ranges, Architecture::kX32, kX32Bit);
      } else {
        Add(ranges, kX32Bit, out_.Return(SECCOMP_RET_KILL_PROCESS));
      }
      Add(ranges, kNoCall, out_.Return(Unknown()));
    }
    out_.GoOn(Search(ranges, 0, ranges.size()));
    return out_.Load(offsetof(seccomp_data, nr));
  }

  std::uint32_t Unknown() const {
    return profile_.unknown_is_enosys ? SECCOMP_RET_ERRNO | ENOSYS : profile_.default_action;
  }

  /// The ranges of one architecture, whose calls are numbered from `offset`.
  void Append(std::vector<Range>& ranges, Architecture architecture, std::uint32_t offset) {
    std::vector<Named> all;
    std::uint32_t known = 0;  // one more than the newest call that the profile names
    for (std::size_t rule = 0; rule < profile_.rules.size(); ++rule) {
      for (const CallNumbers* numbers : profile_.rules[rule].calls) {
        const int number = (*numbers)[static_cast<std::size_t>(architecture)];
        if (number < 0) continue;  // a call of other architectures
        const auto call = static_cast<std::uint32_t>(number);
        all.push_back({call, rule});
        if (call < kArmPrivate) known = std::max(known, call + 1);
      }
    }
    std::ranges::sort(all);
    std::uint32_t next = 0;
    for (auto first = all.begin(); first != all.end();) {
      const std::uint32_t call = first->call;
      const auto end = std::find_if(first, all.end(), [&](const Named& each) { return each.call != call; });
      if (call > next) AddOthers(ranges, offset, next, call, known);
      Add(ranges, offset + call, Answer({first, end}, Is64Bit(architecture)));
      next = call + 1;
      first = end;
    }
    AddOthers(ranges, offset, next, kNoCall, known);
  }

  /// Calls from `first` up to but not including `end` that the profile does not name.
  void AddOthers(std::vector<Range>& ranges, std::uint32_t offset, std::uint32_t first, std::uint32_t end,
                 std::uint32_t known) {
    if (first < known || known == 0) Add(ranges, offset + first, out_.Return(profile_.default_action));
    if (end > known && known != 0) Add(ranges, offset + std::max(first, known), out_.Return(Unknown()));
  }

  void Add(std::vector<Range>& ranges, std::uint32_t first, Label answer) {
    if (!ranges.empty() && out_.Same(ranges.back().answer, answer)) return;
    ranges.push_back({first, answer});
  }

  /// What one call is answered: its rules in order, those without conditions last.
  Label Answer(std::span<const Named> rules, bool wide) {
    std::uint32_t last = profile_.default_action;
    for (const Named& each : rules) {
      if (!profile_.rules[each.rule].conditions.empty()) continue;
      last = profile_.rules[each.rule].action;
      break;
    }
    Label at = out_.Return(last);
    for (const Named& each : std::views::reverse(rules)) {
      const SeccompRule& rule = profile_.rules[each.rule];
      if (rule.conditions.empty()) continue;
      const Label otherwise = at;
      at = out_.Return(rule.action);
      for (const SeccompCondition& condition : std::views::reverse(rule.conditions)) {
        at = Test(out_, condition, wide, at, otherwise);
      }
    }
    return at;
  }

  /// Decides among ranges[first … end) by the number that is loaded.
  Label Search(const std::vector<Range>& ranges, std::size_t first, std::size_t end) {
    if (end - first == 1) return ranges[first].answer;
    const std::size_t middle = first + (end - first) / 2;
    const Label above = Search(ranges, middle, end);
    const Label below = Search(ranges, first, middle);
    return out_.Jump(BPF_JGE, ranges[middle].first, above, below);
  }

  const SeccompProfile& profile_;
  Assembler out_;
};

}  // namespace

std::vector<sock_filter> CompileSeccomp(const SeccompProfile& profile) {
  std::vector<sock_filter> program = Compiler(profile).Run();
  if (program.size() > BPF_MAXINSNS) {
    throw ConfigError("linux.seccomp: needs " + std::to_string(program.size()) +
                      " instructions, and the kernel takes no more than " + std::to_string(BPF_MAXINSNS) +
                      ": use fewer rules with args");
  }
  return program;
}

}  // namespace gantry
