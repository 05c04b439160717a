// The command line, read the way runc reads it: global flags, a verb, its flags, its arguments.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace gantry {

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct CommandLine {
  std::string root;  // once read, never empty
  std::string log;
  bool log_json = false;
  std::string verb;
  std::string bundle = ".";
  std::string pid_file;
  std::string console_socket;
  std::string architecture;
  std::string pidfd_socket;
  bool no_new_keyring = false;
  bool no_cgroup = false;
  bool systemd_cgroup = false;
  int preserve_fds = 0;
  // exec
  std::string process_file;
  std::string cwd;
  std::string user;
  std::vector<std::string> environment;
  std::vector<std::string> additional_gids;
  std::vector<std::string> capabilities;
  bool tty = false;
  bool no_new_privileges = false;
  bool ignore_paused = false;
  std::string apparmor_profile;
  bool starter = false;
  std::optional<std::string> detach_keys;  // their bytes; with --detach at once
  std::string sub_cgroup;                  // "[CONTROLLER:]PATH" below the container's
  // update
  std::string resources_file;
  std::vector<std::pair<std::string, std::string>> limits;  // "memory", "64m"
  std::string format = "table";
  int interval_seconds = 5;
  bool stats = false;
  bool quiet = false;
  bool rootless = false;
  std::optional<bool> rootless_state;  // --rootless; not given: as auto
  bool detach = false;
  bool keep = false;  // run: the state of a container that has ended
  bool all = false;
  bool force = false;
  bool clean = false;  // monitor
  std::string folder;  // namespace
  std::string notice;
  std::vector<std::string> uid_mappings;
  std::vector<std::string> gid_mappings;
  bool single = false;  // serve
  std::vector<std::string> arguments;
  char** argv = nullptr;  // as it was given, for who has to start over
};

/// Fills `line` as far as it gets, so that a failure can be logged where --log said. Throws UsageError.
void ParseCommandLine(int argc, char** argv, CommandLine& line);

/// "9", "KILL", "SIGKILL" or "sigkill". Throws UsageError.
int ParseSignal(const std::string& name);

extern const char kHelp[];

}  // namespace gantry
