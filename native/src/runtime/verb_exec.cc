// exec: one more process in a running container, described by a process.json or by flags.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "runtime/capabilities.h"
#include "runtime/console.h"
#include "runtime/exec.h"
#include "runtime/files.h"
#include "runtime/foreground.h"
#include "runtime/log.h"
#include "runtime/starter.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

std::uint32_t ParseId(const std::string& text, const char* option) {
  std::int64_t number = -1;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || rest != text.data() + text.size() || number < 0 || number > kMaxId) {
    throw UsageError(std::string(option) + " must be a number from 0 to " + std::to_string(kMaxId) + ", not " +
                     QuoteJson(text));
  }
  return static_cast<std::uint32_t>(number);
}

/// The container's own process, changed by the flags.
ProcessConfig FromFlags(const CommandLine& line, const Config& config) {
  if (!config.process) throw StateError("the container has no process to take over from: use --process");
  if (line.arguments.size() < 2) throw UsageError("exec needs the container's ID and a program, or --process");
  ProcessConfig process = *config.process;
  process.args.assign(line.arguments.begin() + 1, line.arguments.end());
  process.terminal = line.tty;
  process.rows = process.columns = 0;
  if (!line.cwd.empty()) process.cwd = line.cwd;
  if (!process.cwd.starts_with('/')) throw UsageError("--cwd must be an absolute path");
  for (const std::string& variable : line.environment) {
    const std::string name = variable.substr(0, variable.find('=') + 1);
    if (name.size() < 2) throw UsageError("--env must be NAME=VALUE, not " + QuoteJson(variable));
    std::erase_if(process.env, [&](const std::string& each) { return each.starts_with(name); });
    process.env.push_back(variable);
  }
  if (!line.user.empty()) {
    const auto colon = line.user.find(':');
    process.uid = ParseId(line.user.substr(0, colon), "--user");
    if (colon != std::string::npos) process.gid = ParseId(line.user.substr(colon + 1), "--user");
  }
  for (const std::string& gid : line.additional_gids) {
    process.additional_gids.push_back(ParseId(gid, "--additional-gids"));
  }
  for (const std::string& name : line.capabilities) {
    const auto bit = CapabilityBit(name);
    if (!bit) throw UsageError("--cap: unknown capability " + QuoteJson(name));
    const std::uint64_t mask = std::uint64_t{1} << *bit;
    process.capabilities.bounding |= mask;
    process.capabilities.effective |= mask;
    process.capabilities.permitted |= mask;
  }
  process.no_new_privileges = process.no_new_privileges || line.no_new_privileges;
  if (!line.apparmor_profile.empty()) process.apparmor_profile = line.apparmor_profile;
  return process;
}

ProcessConfig FromDocument(const CommandLine& line, const std::string& document, const Config& config,
                           std::vector<std::string>& warnings) {
  if (line.arguments.size() != 1) {
    throw UsageError("exec with --process or --starter needs the container's ID and nothing else");
  }
  const Json json = ParseJson(document);
  return ParseProcess(Field(&json, "process"), config.GrantableCapabilities(), warnings);
}

int Run(const CommandLine& line) {
  // Before anything can go wrong: who is told while he still speaks might not hear it.
  std::string document = line.starter ? HearStarter() : "";
  if (line.arguments.empty()) throw UsageError("exec needs the container's ID");
  if (line.starter && (line.preserve_fds > 0 || !line.process_file.empty())) {
    throw UsageError("--starter contradicts --preserve-fds and --process: descriptor 3 is for the starter");
  }
  const StateDirectory directory = StateDirectory::Open(line.root, line.arguments[0]);
  const State state = FindExecTarget(directory, line.ignore_paused);
  auto plan = std::make_unique<ExecPlan>();
  plan->config = ParseConfig(directory.ReadConfig());
  std::vector<std::string> warnings;
  if (!line.process_file.empty()) document = ReadFile(line.process_file, kMaxJsonBytes);
  const bool has_document = line.starter || !line.process_file.empty();
  plan->process = has_document ? FromDocument(line, document, plan->config, warnings) : FromFlags(line, plan->config);
  if (!line.sub_cgroup.empty()) plan->cgroups = SubCgroups(state.cgroups, line.sub_cgroup);
  for (const std::string& warning : warnings) Warn(warning);
  CheckTerminal(line, plan->process.terminal, line.detach);
  const bool stays = !line.detach || line.detach_keys.has_value();
  CheckPreservedDescriptors(line);

  Attachment attachment;
  attachment.preserve_fds = line.preserve_fds;
  attachment.die_with_parent = stays;
  const UniqueFd signals = stays ? TakeSignals(line.starter) : UniqueFd();
  Exec exec(state, std::move(plan), attachment);
  exec.AwaitOutcome();
  UniqueFd& master = exec.plan().plan.console_master;
  HandOver(line, exec.process(), master);
  if (!stays) {
    exec.Keep();
    return 0;
  }
  const Ending ending = Supervise(exec.process(), master.get(), signals.get(),
                                  {.at_once = line.detach, .keys = line.detach_keys.value_or("")});
  exec.Keep();  // it is no more
  return ending.ShellCode();
}

}  // namespace

int ExecVerb(const CommandLine& line) { return Run(line); }

}  // namespace gantry
