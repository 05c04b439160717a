#include "runtime/device_filter.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <ranges>

#include "core/sys.h"

namespace gantry {
namespace {

// Where the program keeps what it is asked about; r1 comes with the context, r0 is the answer.
constexpr std::uint8_t kAnswer = BPF_REG_0;
constexpr std::uint8_t kContext = BPF_REG_1;
constexpr std::uint8_t kType = BPF_REG_2;
constexpr std::uint8_t kAccess = BPF_REG_3;  // what is asked for and not allowed yet
constexpr std::uint8_t kMajor = BPF_REG_4;
constexpr std::uint8_t kMinor = BPF_REG_5;

constexpr std::int32_t kAllow = 1;
constexpr std::int32_t kDeny = 0;

bpf_insn Instruction(unsigned code, std::uint8_t to, std::int16_t offset, std::uint32_t value) {
  bpf_insn made{};
  made.code = static_cast<std::uint8_t>(code);
  made.dst_reg = to & 0xf;
  made.off = offset;
  made.imm = static_cast<std::int32_t>(value);
  return made;
}

bpf_insn Load(std::uint8_t to, std::size_t offset) {
  bpf_insn made = Instruction(BPF_LDX | BPF_MEM | BPF_W, to, static_cast<std::int16_t>(offset), 0);
  made.src_reg = kContext;
  return made;
}

std::uint32_t AccessBits(const DeviceRule& rule) {
  std::uint32_t bits = 0;
  for (const char letter : rule.access) {
    bits |= letter == 'r' ? BPF_DEVCG_ACC_READ : letter == 'w' ? BPF_DEVCG_ACC_WRITE : BPF_DEVCG_ACC_MKNOD;
  }
  return bits;
}

void AppendAnswer(std::vector<bpf_insn>& program, std::int32_t answer) {
  program.push_back(Instruction(BPF_ALU64 | BPF_MOV | BPF_K, kAnswer, 0, static_cast<std::uint32_t>(answer)));
  program.push_back(Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0));
}

void AppendRule(std::vector<bpf_insn>& program, const DeviceRule& rule) {
  std::vector<bpf_insn> decision;
  const std::uint32_t access = AccessBits(rule);
  if (rule.allow) {
    decision.push_back(Instruction(BPF_ALU | BPF_AND | BPF_K, kAccess, 0, ~access));
    decision.push_back(Instruction(BPF_JMP | BPF_JNE | BPF_K, kAccess, 2, 0));
    AppendAnswer(decision, kAllow);
  } else {
    decision.push_back(Instruction(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, 0, 0));
    decision.back().src_reg = kAccess;
    decision.push_back(Instruction(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_6, 0, access));
    decision.push_back(Instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_6, 2, 0));
    AppendAnswer(decision, kDeny);
  }
  std::vector<std::pair<std::uint8_t, std::uint32_t>> conditions;
  conditions.emplace_back(kType, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
  if (rule.major) conditions.emplace_back(kMajor, *rule.major);
  if (rule.minor) conditions.emplace_back(kMinor, *rule.minor);
  for (std::size_t i = 0; i < conditions.size(); ++i) {
    const std::size_t past = conditions.size() - i - 1 + decision.size();
    program.push_back(Instruction(BPF_JMP | BPF_JNE | BPF_K, conditions[i].first, static_cast<std::int16_t>(past),
                                  conditions[i].second));
  }
  program.insert(program.end(), decision.begin(), decision.end());
}

/// The last rule is asked first: what it allows is settled, and what it denies is denied.
std::vector<bpf_insn> Compile(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> program = {
      Load(kType, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Load(kAccess, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Load(kMajor, offsetof(bpf_cgroup_dev_ctx, major)),
      Load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor)),
      Instruction(BPF_ALU | BPF_AND | BPF_K, kType, 0, 0xffff),  // "access_type: (access << 16) | type"
      Instruction(BPF_ALU | BPF_RSH | BPF_K, kAccess, 0, 16),
  };
  for (const DeviceRule& rule : rules | std::views::reverse) {
    if (rule.type == 'a') {  // of all devices, and so of all that was said before
      AppendAnswer(program, rule.allow ? kAllow : kDeny);
      return program;
    }
    AppendRule(program, rule);
  }
  AppendAnswer(program, kAllow);
  return program;
}

int Bpf(bpf_cmd command, bpf_attr& attributes) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

}  // namespace

void AttachDeviceFilter(const std::vector<DeviceRule>& rules, const std::string& directory) {
  const std::string step = "linux.resources.devices: attach the rules to " + directory;
  const UniqueFd cgroup(
      checked(step.c_str(), [&] { return ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  const std::vector<bpf_insn> program = Compile(rules);
  bpf_attr load;
  ::memset(&load, 0, sizeof load);
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = reinterpret_cast<std::uintptr_t>(program.data());
  load.insn_cnt = static_cast<std::uint32_t>(program.size());
  load.license = reinterpret_cast<std::uintptr_t>("Apache-2.0");
  const UniqueFd loaded(checked(step.c_str(), [&] { return Bpf(BPF_PROG_LOAD, load); }));
  bpf_attr attach;
  ::memset(&attach, 0, sizeof attach);
  attach.target_fd = static_cast<std::uint32_t>(cgroup.get());
  attach.attach_bpf_fd = static_cast<std::uint32_t>(loaded.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  checked(step.c_str(), [&] { return Bpf(BPF_PROG_ATTACH, attach); });
}

}  // namespace gantry
