// features: what this runtime can do, as the specification wants it told (runtime-spec, features.md). What is refused
// at create is not in it.

#include "runtime/capabilities.h"
#include "runtime/memory_policy.h"
#include "runtime/mounts.h"
#include "runtime/print.h"
#include "runtime/seccomp_load.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

template <typename Name>
std::string List(const std::vector<Name>& names) {
  std::string text;
  for (const Name& name : names) text += (text.empty() ? "" : ", ") + QuoteJson(std::string(name));
  return "[" + text + "]";
}

std::string PrintSeccomp() {
  std::vector<std::string> known;
  std::vector<std::string> supported;
  for (const SeccompFlag& flag : SeccompFlags()) {
    known.emplace_back(flag.name);
    if (flag.flag == 0 || KernelKnowsSeccompFlag(flag.flag)) supported.emplace_back(flag.name);
  }
  return "{\"enabled\": true,\n      \"actions\": " + List(SeccompActions()) +
         ",\n      \"operators\": " + List(SeccompOperators()) + ",\n      \"archs\": " + List(SeccompArchitectures()) +
         ",\n      \"knownFlags\": " + List(known) + ",\n      \"supportedFlags\": " + List(supported) + "}";
}

}  // namespace

int FeaturesVerb(const CommandLine&) {
  const std::vector<std::string> hooks = {"prestart",       "createRuntime", "createContainer",
                                          "startContainer", "poststart",     "poststop"};
  const std::vector<std::string> namespaces = {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"};
  PrintOut(std::string("{\n  \"ociVersionMin\": \"1.0.0\",\n  \"ociVersionMax\": \"1.3.0\",\n  \"hooks\": ") +
           List(hooks) + ",\n  \"mountOptions\": " + List(MountOptions()) + ",\n  \"linux\": {\n    \"namespaces\": " +
           List(namespaces) + ",\n    \"capabilities\": " + List(CapabilityNames()) +
           ",\n    \"cgroup\": {\"v1\": true, \"v2\": true, \"systemd\": true, \"systemdUser\": true, \"rdma\": true}" +
           ",\n    \"seccomp\": " + PrintSeccomp() +
           ",\n    \"apparmor\": {\"enabled\": true},\n    \"selinux\": {\"enabled\": false}" +
           ",\n    \"memoryPolicy\": {\"modes\": " + List(MemoryPolicyModes()) +
           ", \"flags\": " + List(MemoryPolicyFlags()) + "}" +
           ",\n    \"intelRdt\": {\"enabled\": false},\n    \"mountExtensions\": {\"idmap\": {\"enabled\": true}}" +
           ",\n    \"netDevices\": {\"enabled\": false}\n  },\n  \"annotations\": {},\n" +
           "  \"potentiallyUnsafeConfigAnnotations\": [\"org.systemd.property.\"]\n}\n");
  return 0;
}

}  // namespace gantry
