#include "runtime/options.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace gantry {
namespace {

/// One option that is known somewhere: "create run" are the verbs that take it, "" is before the verb.
struct Option {
  std::string_view name;
  std::string_view verbs;
  bool takes_value;
  void (*apply)(CommandLine&, const std::string& value);  // none: a limit, for who knows what it limits
};

int ParseCount(const std::string& text, const char* option, int least, int most) {
  int number = -1;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || rest != text.data() + text.size() || number < least || number > most) {
    throw UsageError(std::string(option) + " must be a number from " + std::to_string(least) + " to " +
                     std::to_string(most));
  }
  return number;
}

void Format(CommandLine& line, const std::string& value) {
  if (value != "table" && value != "json") throw UsageError("--format must be table or json");
  line.format = value;
}

/// "5s", "5" or "2m", as Go writes durations.
void Interval(CommandLine& line, const std::string& value) {
  const bool minutes = value.ends_with('m');
  const std::string digits = minutes || value.ends_with('s') ? value.substr(0, value.size() - 1) : value;
  line.interval_seconds = ParseCount(digits, "--interval", 1, 86400) * (minutes ? 60 : 1);
}

/// Of two hexadecimal digits each.
std::string Bytes(const std::string& digits) {
  std::string bytes;
  for (std::size_t at = 0; at < digits.size(); at += 2) {
    unsigned char byte = 0;
    const char* const first = digits.data() + at;
    const auto [rest, error] = std::from_chars(first, first + std::min<std::size_t>(2, digits.size() - at), byte, 16);
    if (error != std::errc() || rest != first + 2) throw UsageError("--detach-keys must be hexadecimal: 1011");
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

void NoPivot(CommandLine&, const std::string&) {
  throw UsageError("--no-pivot is refused: without pivot_root the host's files stay within the container's reach");
}

void NoSelinux(CommandLine&, const std::string&) {
  throw UsageError("--process-label is refused: SELinux is not supported by this version");
}

/// As crun: podman asks with it for a container without cgroups.
void CgroupManager(CommandLine& line, const std::string& value) {
  if (value != "cgroupfs" && value != "systemd" && value != "disabled") {
    throw UsageError("--cgroup-manager must be cgroupfs, systemd or disabled");
  }
  line.systemd_cgroup = value == "systemd";
  line.no_cgroup = value == "disabled";
}

void Rootless(CommandLine& line, const std::string& value) {
  if (value != "true" && value != "false" && value != "auto")
    throw UsageError("--rootless must be true, false or auto");
  line.rootless_state = value == "auto" ? ::geteuid() != 0 : value == "true";
}

/// Where others cannot look, and the system takes it away with the session: the XDG Base Directory Specification.
std::string DefaultRoot(const CommandLine& line) {
  const char* runtime = ::getenv("XDG_RUNTIME_DIR");
  const bool rootless = line.rootless_state.value_or(::geteuid() != 0);
  if (!rootless) return "/run/gantry-runtime";
  if (runtime == nullptr || runtime[0] != '/') {
    throw UsageError("XDG_RUNTIME_DIR is not set: whoever is not root has to say with --root where state may live");
  }
  return std::string(runtime) + "/gantry-runtime";
}

void Nothing(CommandLine&, const std::string&) {}

const Option kOptions[] = {
    {"root", "", true, [](CommandLine& line, const std::string& value) { line.root = value; }},
    {"log", "", true, [](CommandLine& line, const std::string& value) { line.log = value; }},
    {"log-format", "", true,
     [](CommandLine& line, const std::string& value) {
       if (value != "text" && value != "json") throw UsageError("--log-format must be text or json");
       line.log_json = value == "json";
     }},
    {"debug", "", false, Nothing},
    {"rootless", "", true, Rootless},
    {"systemd-cgroup", "", false, [](CommandLine& line, const std::string&) { line.systemd_cgroup = true; }},
    {"cgroup-manager", "", true, CgroupManager},
    {"version", "", false, [](CommandLine& line, const std::string&) { line.verb = "--version"; }},
    {"v", "", false, [](CommandLine& line, const std::string&) { line.verb = "--version"; }},
    {"help", "", false, [](CommandLine& line, const std::string&) { line.verb = "--help"; }},
    {"h", "", false, [](CommandLine& line, const std::string&) { line.verb = "--help"; }},
    {"bundle", "create run", true, [](CommandLine& line, const std::string& value) { line.bundle = value; }},
    {"b", "create run", true, [](CommandLine& line, const std::string& value) { line.bundle = value; }},
    {"pid-file", "create run exec", true, [](CommandLine& line, const std::string& value) { line.pid_file = value; }},
    {"console-socket", "create run exec", true,
     [](CommandLine& line, const std::string& value) { line.console_socket = value; }},
    {"preserve-fds", "create run exec", true,
     [](CommandLine& line, const std::string& value) {
       line.preserve_fds = ParseCount(value, "--preserve-fds", 0, 1024);
     }},
    {"pidfd-socket", "create run exec", true,
     [](CommandLine& line, const std::string& value) { line.pidfd_socket = value; }},
    {"no-new-keyring", "create run", false, [](CommandLine& line, const std::string&) { line.no_new_keyring = true; }},
    {"process", "exec", true, [](CommandLine& line, const std::string& value) { line.process_file = value; }},
    {"p", "exec", true, [](CommandLine& line, const std::string& value) { line.process_file = value; }},
    {"starter", "exec", false, [](CommandLine& line, const std::string&) { line.starter = true; }},
    {"cwd", "exec", true, [](CommandLine& line, const std::string& value) { line.cwd = value; }},
    {"user", "exec", true, [](CommandLine& line, const std::string& value) { line.user = value; }},
    {"u", "exec", true, [](CommandLine& line, const std::string& value) { line.user = value; }},
    {"env", "exec", true, [](CommandLine& line, const std::string& value) { line.environment.push_back(value); }},
    {"e", "exec", true, [](CommandLine& line, const std::string& value) { line.environment.push_back(value); }},
    {"additional-gids", "exec", true,
     [](CommandLine& line, const std::string& value) { line.additional_gids.push_back(value); }},
    {"g", "exec", true, [](CommandLine& line, const std::string& value) { line.additional_gids.push_back(value); }},
    {"cap", "exec", true, [](CommandLine& line, const std::string& value) { line.capabilities.push_back(value); }},
    {"c", "exec", true, [](CommandLine& line, const std::string& value) { line.capabilities.push_back(value); }},
    {"tty", "exec", false, [](CommandLine& line, const std::string&) { line.tty = true; }},
    {"t", "exec", false, [](CommandLine& line, const std::string&) { line.tty = true; }},
    {"no-new-privs", "exec", false, [](CommandLine& line, const std::string&) { line.no_new_privileges = true; }},
    {"ignore-paused", "exec", false, [](CommandLine& line, const std::string&) { line.ignore_paused = true; }},
    {"apparmor", "exec", true, [](CommandLine& line, const std::string& value) { line.apparmor_profile = value; }},
    {"process-label", "exec", true, NoSelinux},
    {"cgroup", "exec", true, [](CommandLine& line, const std::string& value) { line.sub_cgroup = value; }},
    {"detach-keys", "exec", true, [](CommandLine& line, const std::string& value) { line.detach_keys = Bytes(value); }},
    {"no-pivot", "create run", false, NoPivot},
    {"keep", "run", false, [](CommandLine& line, const std::string&) { line.keep = true; }},
    {"no-subreaper", "run", false, Nothing},  // this runtime never becomes one
    {"detach", "run exec", false, [](CommandLine& line, const std::string&) { line.detach = true; }},
    {"d", "run exec", false, [](CommandLine& line, const std::string&) { line.detach = true; }},
    {"all", "kill", false, [](CommandLine& line, const std::string&) { line.all = true; }},
    {"a", "kill", false, [](CommandLine& line, const std::string&) { line.all = true; }},
    {"force", "delete", false, [](CommandLine& line, const std::string&) { line.force = true; }},
    {"f", "delete", false, [](CommandLine& line, const std::string&) { line.force = true; }},
    {"resources", "update", true, [](CommandLine& line, const std::string& value) { line.resources_file = value; }},
    {"r", "update", true, [](CommandLine& line, const std::string& value) { line.resources_file = value; }},
    {"blkio-weight", "update", true, nullptr},
    {"cpu-burst", "update", true, nullptr},
    {"cpu-idle", "update", true, nullptr},
    {"cpu-period", "update", true, nullptr},
    {"cpu-quota", "update", true, nullptr},
    {"cpu-rt-period", "update", true, nullptr},
    {"cpu-rt-runtime", "update", true, nullptr},
    {"cpu-share", "update", true, nullptr},
    {"cpuset-cpus", "update", true, nullptr},
    {"cpuset-mems", "update", true, nullptr},
    {"memory", "update", true, nullptr},
    {"memory-reservation", "update", true, nullptr},
    {"memory-swap", "update", true, nullptr},
    {"pids-limit", "update", true, nullptr},
    {"format", "list ps", true, Format},
    {"f", "list ps", true, Format},
    {"quiet", "list", false, [](CommandLine& line, const std::string&) { line.quiet = true; }},
    {"q", "list", false, [](CommandLine& line, const std::string&) { line.quiet = true; }},
    {"stats", "events", false, [](CommandLine& line, const std::string&) { line.stats = true; }},
    {"interval", "events", true, Interval},
    {"bundle", "spec", true, [](CommandLine& line, const std::string& value) { line.bundle = value; }},
    {"b", "spec", true, [](CommandLine& line, const std::string& value) { line.bundle = value; }},
    {"rootless", "spec", false, [](CommandLine& line, const std::string&) { line.rootless = true; }},
    {"single", "serve", false, [](CommandLine& line, const std::string&) { line.single = true; }},
    {"folder", "namespace", true, [](CommandLine& line, const std::string& value) { line.folder = value; }},
    {"notice", "namespace", true, [](CommandLine& line, const std::string& value) { line.notice = value; }},
    {"uids", "namespace", true,
     [](CommandLine& line, const std::string& value) { line.uid_mappings.push_back(value); }},
    {"gids", "namespace", true,
     [](CommandLine& line, const std::string& value) { line.gid_mappings.push_back(value); }},
    {"clean", "monitor", false, [](CommandLine& line, const std::string&) { line.clean = true; }},
    {"arch", "seccomp", true, [](CommandLine& line, const std::string& value) { line.architecture = value; }},
    {"help",
     "create run start state kill delete exec pause resume update list ps events features spec seccomp serve monitor "
     "namespace",
     false, [](CommandLine& line, const std::string&) { line.verb = "--help"; }},
};

bool Takes(const Option& option, const std::string& verb) {
  if (verb.empty() || option.verbs.empty()) return verb.empty() && option.verbs.empty();
  return (" " + std::string(option.verbs) + " ").find(" " + verb + " ") != std::string::npos;
}

const Option& FindOption(std::string_view name, const std::string& verb, const std::string& word) {
  for (const Option& option : kOptions) {
    if (option.name == name && Takes(option, verb)) return option;
  }
  throw UsageError("unknown option " + word + (verb.empty() ? "" : " of " + verb) + " (see --help)");
}

}  // namespace

const char kHelp[] =
    R"(gantry-runtime runs containers from OCI bundles.

Usage:
  gantry-runtime [--root DIR] [--log FILE] [--log-format text|json] VERB …

Verbs:
  run [-b BUNDLE] [--detach] [--keep] [--pid-file FILE] [--console-socket SOCKET] [--preserve-fds N] ID
                            create a container, start it, wait for it, delete it unless it is to be kept
  create [-b BUNDLE] [--pid-file FILE] [--console-socket SOCKET] [--preserve-fds N] ID
                            prepare a container up to the point before its program starts
  start ID                  start the program of a created container
  state ID                  print the state of a container as JSON
  exec [--detach] [--tty] [--cwd DIR] [--user UID[:GID]] [--env NAME=VALUE] [--cap NAME] [--additional-gids GID]
       [--no-new-privs] [--apparmor PROFILE] [--cgroup [CONTROLLER:]PATH] [--ignore-paused] [--pid-file FILE]
       [--console-socket SOCKET] [--preserve-fds N] ID PROGRAM …
  exec --process FILE ID    run one more program in a container, described by flags or by a process.json
  exec --starter [--detach] [--detach-keys HEX] ID
                            the same (for the library), described by what is read from descriptor 3; --detach-keys: the
                            keys that leave it, while this process stays to hold its terminal
  kill [--all] ID [SIGNAL]  send a signal (SIGTERM) to a container
  pause ID, resume ID       freeze and thaw all processes of a container
  update --resources FILE|- ID
                            other limits: linux.resources of config.json
  update [--memory SIZE] [--memory-reservation SIZE] [--memory-swap SIZE] [--pids-limit N] [--blkio-weight N]
         [--cpu-share N] [--cpu-quota N] [--cpu-period N] [--cpu-burst N] [--cpu-idle 0|1] [--cpu-rt-period N]
         [--cpu-rt-runtime N] [--cpuset-cpus LIST] [--cpuset-mems LIST] ID
                            the same by flags: those that are given change
  list [--format table|json] [--quiet], ps [--format table|json] ID [OPTION OF ps …]
  events [--stats] [--interval SECONDS] ID
                            print what a container uses
  features                  print what this runtime can do, as JSON
  spec [-b BUNDLE] [--rootless]
                            write a config.json to begin with; --rootless: with a user namespace of your own id
  delete [--force] ID       remove a container that is not running; --force: kill it first
  seccomp [--arch x86_64|aarch64] FILE
                            print the filter that a seccomp profile (linux.seccomp of config.json) becomes
  serve                     take orders on descriptor 3 (for the library)
  monitor FOLDER            keep a container running as FOLDER/monitor.json says (for the library)
  monitor --clean FOLDER    take down what a monitor that was killed has left
  namespace --folder DIR --uids INSIDE:OUTSIDE:COUNT … --gids … [--notice TEXT] PROGRAM …
                            run a program as root of a user namespace that all commands of a user share (for the
                            library); DIR, which is his alone, remembers it; TEXT is printed when it is made

Options:
  --root DIR                where the state of containers lives (/run/gantry-runtime; rootless:
                            $XDG_RUNTIME_DIR/gantry-runtime)
  --rootless true|false|auto
                            whether that is the state of root or of a user (auto: who asks)
  --cgroup-manager cgroupfs|disabled
                            disabled: containers stay in the cgroups of their caller
  --version, --help
)";

void ParseCommandLine(int argc, char** argv, CommandLine& line) {
  line.argv = argv;
  bool options_over = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (options_over || word.size() < 2 || word[0] != '-') {
      if (line.verb.empty()) {
        line.verb = word;
      } else {
        line.arguments.push_back(word);
        options_over = options_over || line.verb == "exec" || line.verb == "ps" ||
                       line.verb == "namespace";  // what follows are the program and its own options
      }
      continue;
    }
    if (word == "--") {
      options_over = true;
      continue;
    }
    if (line.verb == "kill" && !line.arguments.empty()) {  // kill ID -9
      line.arguments.push_back(word.substr(1));
      continue;
    }
    if (line.verb == "checkpoint" || line.verb == "restore") return;  // refused, whatever is asked of it
    const auto equals = word.find('=');
    const std::size_t dashes = word.starts_with("--") ? 2 : 1;
    const std::string_view name =
        std::string_view(word).substr(dashes, equals == std::string::npos ? equals : equals - dashes);
    const Option& option = FindOption(name, line.verb, word);
    std::string value;
    if (option.takes_value) {
      if (equals != std::string::npos) {
        value = word.substr(equals + 1);
      } else if (++i < argc) {
        value = argv[i];
      } else {
        throw UsageError("option " + word + " needs a value");
      }
    } else if (equals != std::string::npos) {
      throw UsageError("option " + word.substr(0, equals) + " takes no value");
    }
    if (option.apply == nullptr) {
      line.limits.emplace_back(option.name, value);
    } else {
      option.apply(line, value);
    }
    if (line.verb == "--version" || line.verb == "--help") return;
  }
  if (line.root.empty()) line.root = DefaultRoot(line);
  if (line.root[0] != '/') throw UsageError("--root must be an absolute path");
}

int ParseSignal(const std::string& text) {
  int number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && rest == text.data() + text.size() && number >= 0 && number < NSIG) return number;
  std::string name = text;
  for (char& c : name) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int signal = 1; signal < 32; ++signal) {
    const char* abbreviation = ::sigabbrev_np(signal);
    if (abbreviation != nullptr && name == abbreviation) return signal;
  }
  throw UsageError("unknown signal " + text);
}

}  // namespace gantry
