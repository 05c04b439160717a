#include "runtime/container.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "runtime/cgroup_delegate.h"
#include "runtime/child.h"
#include "runtime/limits.h"
#include "runtime/seccomp_listener.h"
#include "runtime/start.h"
#include "runtime/time_namespace.h"

namespace gantry {

Container::Container(const std::string& state_root, std::unique_ptr<Plan> plan)
    : directory_(StateDirectory::Make(state_root, plan->id)), plan_(std::move(plan)) {
  try {
    const Attachment& attachment = plan_->process.attachment;
    if (!attachment.wait_for_start) RequireProcess(plan_->config);
    starts_itself_ = !attachment.wait_for_start && plan_->config.hooks.AtStart();
    if (starts_itself_) plan_->process.attachment.wait_for_start = true;
    directory_.WriteConfig(plan_->document);
    MakeCgroup();
    Record();  // whoever finds us killed knows from now on what to take down
    // There are always rules for devices; limits, which are asked for, are refused where there is no cgroup. Who is
    // rootless makes no devices, and opens those that he may open anyway.
    if (attachment.own_cgroup && plan_->privileged)
      ApplyDeviceRules(plan_->config.resources.devices, plan_->cgroup->directories());
    ApplyLimits();
    DelegateCgroup(plan_->config, plan_->cgroup->directories());
    if (plan_->process.attachment.wait_for_start) MakeFifos();
    Clone();
    Settle();
  } catch (...) {
    plan_.reset();
    directory_.Remove();
    throw;
  }
}

Container::~Container() {
  if (finished_) return;
  try {
    process_.Signal(SIGKILL);
    process_.Wait();
    Remove();
  } catch (const std::exception&) {
    // The failure that brought us here is the news.
  }
}

void Container::MakeCgroup() {
  if (plan_->scope) {
    plan_->cgroup = std::make_unique<Cgroup>(*plan_->scope);
    const bool shows_host = (plan_->config.namespaces & CLONE_NEWCGROUP) == 0;
    for (CgroupView& view : plan_->cgroup_views) {
      if (shows_host) view.directory = plan_->cgroup->directories().front();
    }
  } else if (plan_->process.attachment.own_cgroup) {
    plan_->cgroup = std::make_unique<Cgroup>(CgroupPath(plan_->config.cgroups_path, plan_->id));
  } else {
    plan_->cgroup = std::make_unique<Cgroup>();
  }
}

/// Whoever holds the cgroup until the container is in it takes the place of a process, and so may whoever it is born
/// of.
void Container::ApplyLimits() const {
  constexpr std::int64_t kPassers = 2;
  Resources limits = plan_->config.resources;
  const std::int64_t limit = limits.pids_limit.value_or(-1);
  if (plan_->cgroup->IsHeld() && limit >= 0 && limit <= INT64_MAX - kPassers) *limits.pids_limit += kPassers;
  ApplyResources(limits, plan_->cgroup->directories());
}

void Container::Settle() {
  if (!plan_->cgroup->IsHeld()) return;
  plan_->cgroup->Settle();
  Resources limits;
  limits.pids_limit = plan_->config.resources.pids_limit;
  ApplyResources(limits, plan_->cgroup->directories());
}

void Container::MakeFifos() {
  const int directory = directory_.fd();
  for (const char* name : {kStartFifo, kExecFifo}) {
    checked("make the fifos of the container", [&] { return ::mkfifoat(directory, name, 0600); });
  }
  const auto open = [&](const char* name, int flags) {
    return UniqueFd(
        checked("open the fifos of the container", [&] { return ::openat(directory, name, flags | O_CLOEXEC); }));
  };
  plan_->process.start_fifo = open(kStartFifo, O_RDWR);
  const UniqueFd reader = open(kExecFifo, O_RDONLY | O_NONBLOCK);  // without a reader there is no opening for writing
  plan_->process.exec_fifo = open(kExecFifo, O_WRONLY);
}

void Container::Clone() {
  const Config& config = plan_->config;
  const bool asks = config.hooks.AtCreate() || plan_->process.console_inside ||
                    (plan_->process.seccomp && plan_->process.seccomp->notifies);
  // The cgroup namespace is made by the child, after it has joined its cgroup; that of time before there is a child.
  const std::uint64_t flags = config.namespaces & ~std::uint64_t{CLONE_NEWCGROUP | CLONE_NEWUSER | CLONE_NEWTIME};
  const auto become = [&] { RunChild(*plan_); };
  Birthplace place{.cgroup = plan_->cgroup->unified()};
  if (const auto scope = plan_->cgroup->scope()) place.move = [scope](pid_t pid) { EnterScope(*scope, pid); };
  if (plan_->UserNamespace() >= 0) {
    process_.CloneThrough(plan_->process, NamespaceEntries(), flags, place, asks, become);
    return;
  }
  for (const JoinedNamespace& joined : config.joined) {
    if (joined.type == CLONE_NEWPID) place.pid_namespace = joined.fd.get();
  }
  const ChildrenInTimeNamespace born_then(plan_->process.new_time, plan_->process.time_offsets);
  process_.Clone(plan_->process, flags, place, asks, become);
}

/// Root may enter the others while it is the host's, whoever they belong to; who is rootless only once he is root in
/// the user namespace that they belong to.
std::vector<NamespaceEntry> Container::NamespaceEntries() const {
  std::vector<NamespaceEntry> entries;
  const std::vector<JoinedNamespace>& joined = plan_->config.joined;
  int user_index = 0;
  for (std::size_t i = 0; i < joined.size(); ++i) {
    const NamespaceEntry entry{joined[i].fd.get(), joined[i].type, static_cast<int>(i)};
    if (joined[i].type == CLONE_NEWUSER) {
      user_index = entry.index;
    } else {
      entries.push_back(entry);
    }
  }
  entries.insert(plan_->privileged ? entries.end() : entries.begin(),
                 {plan_->UserNamespace(), CLONE_NEWUSER, user_index});
  return entries;
}

void Container::AwaitOutcome() {
  bool starting = false;
  while (const auto report = process_.Hear()) {
    if (report->kind == Report::kReady) return StartItself();
    if (report->kind == Report::kStarting) {
      starting = true;
      continue;
    }
    if (report->kind == Report::kHooks) {
      RunCreateHooks();
      process_.Answer();
      continue;
    }
    if (report->kind == Report::kConsole) {
      plan_->process.console_master = process_.Take();
      SetConsoleSize(plan_->process);
      process_.Answer();
    } else if (report->kind == Report::kListener) {
      SendListener(*plan_->process.seccomp, process_.pidfd(), report->index, process_.pid(), Describe());
      process_.Answer();
    } else {
      throw ChildError(StepName(report->step), report->error,
                       "unable to start container process: " + gantry::Describe(*plan_, *report));
    }
  }
  // The end of what it has to say: exec has happened, unless the child was killed before it could.
  if (!starting) {
    throw ChildError("create", ESRCH, "the container's first process was killed while it was set up");
  }
}

/// In this order, and each of them while the container waits (runtime-spec, "Lifecycle", 4 to 6).
void Container::RunCreateHooks() const {
  const Hooks& hooks = plan_->config.hooks;
  const std::string state = PrintState(Describe(), Status::kCreating);
  try {
    RunHooks(hooks.prestart, "prestart", state);
    RunHooks(hooks.create_runtime, "createRuntime", state);
    if (hooks.create_container.empty()) return;
    RunHooks(hooks.create_container, "createContainer", state,
             {.pidfd = process_.pidfd(), .types = ForeignNamespaces(process_.pid())});
  } catch (const HookError& error) {
    throw ChildError(StepName(Step::kHook), ECANCELED, error.what());
  }
}

/// For who runs a container in one go, although there is something to do between its creation and its start.
void Container::StartItself() {
  if (!starts_itself_) return;
  Record();
  Start();
}

void Container::Start() {
  RequireProcess(plan_->config);
  try {
    StartContainer(directory_, Describe(), plan_->config.hooks);
  } catch (const HookError& error) {
    throw ChildError(StepName(Step::kHook), ECANCELED, error.what());
  } catch (const StateError& error) {
    throw ChildError(StepName(Step::kExec), ECANCELED, error.what());
  }
}

State Container::Describe() const {
  const Config& config = plan_->config;
  return {.oci_version = config.oci_version,
          .id = plan_->id,
          .pid = std::max(process_.pid(), 0),
          .start_time = process_.pid() > 0 ? ProcessStartTime(process_.pid()) : 0,
          .bundle = plan_->bundle,
          .rootfs = plan_->rootfs_path,
          .created = Rfc3339Now(),
          .annotations = config.annotations,
          .cgroups = plan_->cgroup->directories(),
          .scope = plan_->cgroup->scope()};
}

void Container::Record() { directory_.Write(Describe()); }

void Container::Keep() {
  plan_->cgroup->Keep();
  finished_ = true;
}

void Container::Remove() {
  RemoveCgroup(plan_->cgroup->directories(), plan_->cgroup->scope());
  plan_->cgroup->Keep();
  directory_.Remove();
  finished_ = true;
  RunPoststop(plan_->config.hooks.poststop, PrintState(Describe(), Status::kStopped));
}

}  // namespace gantry
