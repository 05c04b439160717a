#include "runtime/scheduling.h"

#include <linux/ioprio.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "core/sys.h"
#include "runtime/lookup.h"

namespace gantry {
namespace {

constexpr std::array<Named<std::uint32_t>, 6> kPolicies = {{
    {"SCHED_OTHER", SCHED_NORMAL},
    {"SCHED_FIFO", SCHED_FIFO},
    {"SCHED_RR", SCHED_RR},
    {"SCHED_BATCH", SCHED_BATCH},
    {"SCHED_IDLE", SCHED_IDLE},
    {"SCHED_DEADLINE", SCHED_DEADLINE},
}};

constexpr std::array<Named<std::uint64_t>, 7> kFlags = {{
    {"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
    {"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
    {"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
    {"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
    {"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
    {"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
    {"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX},
}};

constexpr std::array<Named<int>, 3> kIoClasses = {{
    {"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
    {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
    {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE},
}};

SchedulerAttributes ParseScheduler(const Field& field) {
  SchedulerAttributes attributes;
  const std::string name = field["policy"].String();
  const auto policy = Lookup(kPolicies, name);
  if (name == "SCHED_ISO") field["policy"].Refuse("SCHED_ISO is in no kernel");
  if (!policy) field["policy"].Refuse("is no scheduling policy of Linux");
  attributes.policy = *policy;
  const bool real_time = *policy == SCHED_FIFO || *policy == SCHED_RR;
  if (field["nice"].Present()) attributes.nice = static_cast<std::int32_t>(field["nice"].Integer(-20, 19));
  if (field["priority"].Present()) {
    attributes.priority = static_cast<std::uint32_t>(field["priority"].Integer(0, 99));
    if (attributes.priority != 0 && !real_time) field["priority"].Refuse("is for SCHED_FIFO and SCHED_RR only");
  }
  for (const auto& [property, value] : {std::pair("runtime", &attributes.runtime),
                                        {"deadline", &attributes.deadline},
                                        {"period", &attributes.period}}) {
    if (!field[property].Present()) continue;
    *value = field[property].Unsigned(UINT64_MAX);
    if (*value != 0 && *policy != SCHED_DEADLINE) field[property].Refuse("is for SCHED_DEADLINE only");
  }
  for (const Field& item : field["flags"].Items()) {
    const auto flag = Lookup(kFlags, item.String());
    if (!flag) item.Refuse("is no flag of a scheduling policy");
    attributes.flags |= *flag;
  }
  return attributes;
}

}  // namespace

bool Scheduling::Inherited() const {
  return !scheduler || (scheduler->policy != SCHED_DEADLINE && (scheduler->flags & SCHED_FLAG_RESET_ON_FORK) == 0);
}

Scheduling ParseScheduling(const Field& process) {
  Scheduling scheduling;
  if (const Field field = process["scheduler"]; field.Present()) scheduling.scheduler = ParseScheduler(field);
  if (const Field field = process["ioPriority"]; field.Present()) {
    const auto io_class = Lookup(kIoClasses, field["class"].String());
    if (!io_class) field["class"].Refuse("must be IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE");
    const std::int64_t level = field["priority"].Present() ? field["priority"].Integer(0, 7) : 0;
    scheduling.io_priority = (*io_class << IOPRIO_CLASS_SHIFT) | static_cast<int>(level);
  }
  scheduling.initial_cpus = ParseNumberList(process["execCPUAffinity"]["initial"]);
  scheduling.final_cpus = ParseNumberList(process["execCPUAffinity"]["final"]);
  return scheduling;
}

bool ApplyScheduler(const Scheduling& scheduling) noexcept {
  return !scheduling.scheduler || ::syscall(SYS_sched_setattr, 0, &*scheduling.scheduler, 0) == 0;
}

bool ApplyIoPriority(const Scheduling& scheduling) noexcept {
  return !scheduling.io_priority || ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, *scheduling.io_priority) == 0;
}

void ForgetAffinity() noexcept {
  unsigned long all[kMostNumbers / (sizeof(unsigned long) * 8)];
  for (unsigned long& word : all) word = ~0UL;
  ::syscall(SYS_sched_setaffinity, 0, sizeof all, all);  // of no consequence where it is not allowed
}

bool RunOn(const NumberSet& cpus) noexcept {
  return ::syscall(SYS_sched_setaffinity, 0, cpus.size() * sizeof cpus[0], cpus.data()) == 0;
}

RunningOn::RunningOn(const NumberSet& cpus) {
  if (cpus.empty()) return;
  before_.resize(cpus.size());
  const std::size_t size = before_.size() * sizeof before_[0];
  checked("look at the CPU affinity", [&] { return ::syscall(SYS_sched_getaffinity, 0, size, before_.data()); });
  if (!RunOn(cpus)) throw SysError(errno, "set process.execCPUAffinity.initial");
}

RunningOn::~RunningOn() {
  if (!before_.empty()) RunOn(before_);
}

}  // namespace gantry
