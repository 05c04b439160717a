#include "runtime/seccomp_listener.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "core/sys.h"
#include "runtime/descriptor_socket.h"
#include "runtime/json.h"
#include "runtime/state.h"

namespace gantry {

void SendListener(const SeccompFilter& filter, int pidfd, int descriptor, int pid, const State& container) {
  const UniqueFd listener(static_cast<int>(
      checked("take the seccomp listener", [&] { return ::syscall(SYS_pidfd_getfd, pidfd, descriptor, 0); })));
  const Status status = container.pid == pid ? Status::kCreating : Status::kRunning;
  std::string text = "{\"ociVersion\": " + QuoteJson(container.oci_version) +
                     ", \"fds\": [\"seccompFd\"], \"pid\": " + std::to_string(pid);
  if (!filter.listener_metadata.empty()) text += ", \"metadata\": " + QuoteJson(filter.listener_metadata);
  text += ", \"state\": " + PrintState(container, status) + "}";
  SendDescriptor(filter.listener_path, text, listener.get(), "the seccomp listener");
}

}  // namespace gantry
