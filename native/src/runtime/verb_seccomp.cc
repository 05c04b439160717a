// seccomp: shows what a profile becomes, for whoever writes one and for the tests of the compiler.

#include "runtime/files.h"
#include "runtime/json.h"
#include "runtime/print.h"
#include "runtime/seccomp_compile.h"
#include "runtime/verbs.h"

namespace gantry {

int SeccompVerb(const CommandLine& line) {
  if (line.arguments.size() != 1) throw UsageError("seccomp needs exactly one argument: the file of the profile");
  Architecture native = NativeArchitecture();
  if (line.architecture == "x86_64") {
    native = Architecture::kX86_64;
  } else if (line.architecture == "aarch64") {
    native = Architecture::kAarch64;
  } else if (!line.architecture.empty()) {
    throw UsageError("--arch must be x86_64 or aarch64");
  }
  const Json json = ParseJson(ReadFile(line.arguments[0], kMaxJsonBytes));
  const SeccompProfile profile = ParseSeccomp(Field(&json, "linux.seccomp"), native);
  // An instruction a line, in the numbers of struct sock_filter: code, jump if true, jump if false, operand.
  std::string text;
  for (const sock_filter& each : CompileSeccomp(profile)) {
    text += std::to_string(each.code) + " " + std::to_string(each.jt) + " " + std::to_string(each.jf) + " " +
            std::to_string(each.k) + "\n";
  }
  PrintOut(text);
  return 0;
}

}  // namespace gantry
