#include "runtime/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace gantry {
namespace {

// In the order of their bits.
constexpr std::array<std::string_view, 41> kNames = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

bool Has(std::uint64_t set, int bit) { return ((set >> bit) & 1) != 0; }

}  // namespace

std::optional<int> CapabilityBit(std::string_view name) {
  for (std::size_t bit = 0; bit < kNames.size(); ++bit) {
    if (kNames[bit] == name) return static_cast<int>(bit);
  }
  return std::nullopt;
}

std::vector<std::string> CapabilityNames() { return {kNames.begin(), kNames.end()}; }

std::uint64_t PermittedCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return 0;
  return data[0].permitted | (static_cast<std::uint64_t>(data[1].permitted) << 32);
}

bool DropBoundingSet(std::uint64_t keep) noexcept {
  for (int bit = 0; bit < 64; ++bit) {
    if (Has(keep, bit)) continue;
    if (::prctl(PR_CAPBSET_DROP, bit, 0, 0, 0) != 0) return errno == EINVAL;  // past the last bit the kernel has
  }
  return true;
}

bool ApplyCapabilities(const CapabilitySets& sets) noexcept {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const auto low = [](std::uint64_t set) { return static_cast<std::uint32_t>(set); };
  const auto high = [](std::uint64_t set) { return static_cast<std::uint32_t>(set >> 32); };
  const __user_cap_data_struct data[2] = {
      {low(sets.effective), low(sets.permitted), low(sets.inheritable)},
      {high(sets.effective), high(sets.permitted), high(sets.inheritable)},
  };
  if (::syscall(SYS_capset, &header, data) != 0) return false;
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return false;
  for (int bit = 0; bit < static_cast<int>(kNames.size()); ++bit) {
    if (Has(sets.ambient, bit) && ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0) != 0) return false;
  }
  return true;
}

}  // namespace gantry
