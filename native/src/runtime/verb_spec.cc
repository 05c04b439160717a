// spec: a configuration to begin with.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/files.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

constexpr const char* kTemplate = R"({
  "ociVersion": "1.3.0",
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "container",
  "process": {
    "terminal": true,
    "user": {"uid": 0, "gid": 0},
    "args": ["sh"],
    "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
    "cwd": "/",
    "capabilities": {
      "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    },
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
    "noNewPrivileges": true
  },
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
     "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
  ],
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                   {"type": "cgroup"}],
    "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
                    "/sys/devices/virtual/powercap", "/sys/firmware"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}
)";

constexpr std::string_view kNamespacesEnd = R"({"type": "cgroup"}])";

}  // namespace

int SpecVerb(const CommandLine& line) {
  const std::string path = line.bundle + "/config.json";
  if (::access(path.c_str(), F_OK) == 0) throw StateError("file " + path + " exists: remove it first");
  std::string text = kTemplate;
  if (line.rootless) {
    const auto mapping = [](const char* name, std::uint32_t id) {
      return ",\n    \"" + std::string(name) + "\": [{\"containerID\": 0, \"hostID\": " + std::to_string(id) +
             ", \"size\": 1}]";
    };
    text.replace(text.find(kNamespacesEnd), kNamespacesEnd.size(),
                 R"({"type": "cgroup"}, {"type": "user"}])" + mapping("uidMappings", ::geteuid()) +
                     mapping("gidMappings", ::getegid()));
  }
  ReplaceFile(AT_FDCWD, path, text, 0644);
  return 0;
}

}  // namespace gantry
