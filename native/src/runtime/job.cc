#include "runtime/job.h"

#include <cerrno>

#include "runtime/container.h"
#include "runtime/exec.h"
#include "runtime/json.h"
#include "runtime/pipe.h"

namespace gantry {
namespace {

std::vector<UniqueFd> OneOrNone(UniqueFd& fd, std::vector<UniqueFd> otherwise) {
  if (fd.get() >= 0) otherwise.push_back(std::move(fd));
  return otherwise;
}

class ContainerJob : public Job {
 public:
  ContainerJob(const std::string& state_root, std::unique_ptr<Plan> plan, bool waits, std::vector<UniqueFd> ends)
      : container_(state_root, std::move(plan)), waits_(waits), ends_(std::move(ends)) {}

  ChildProcess& process() override { return container_.process(); }
  void AwaitOutcome() override {
    container_.AwaitOutcome();
    container_.Record();
  }
  void Start() override {
    container_.Start();
    waits_ = false;
  }
  bool waits_for_start() const override { return waits_; }
  void Remove() override { container_.Remove(); }
  std::vector<UniqueFd> TakeEnds() override {
    return OneOrNone(container_.plan().process.console_master, std::move(ends_));
  }

 private:
  Container container_;
  bool waits_;
  std::vector<UniqueFd> ends_;
};

class MemberJob : public Job {
 public:
  MemberJob(const State& state, std::unique_ptr<ExecPlan> plan, const Attachment& attachment,
            std::vector<UniqueFd> ends)
      : exec_(state, std::move(plan), attachment), ends_(std::move(ends)) {}

  ChildProcess& process() override { return exec_.process(); }
  void AwaitOutcome() override { exec_.AwaitOutcome(); }
  void Remove() override { exec_.Keep(); }
  std::vector<UniqueFd> TakeEnds() override { return OneOrNone(exec_.plan().plan.console_master, std::move(ends_)); }

 private:
  Exec exec_;
  std::vector<UniqueFd> ends_;
};

}  // namespace

JobAttachment::JobAttachment(Message& message) : terminal_(message.first == Message::kTerminal) {
  const bool given = message.first == Message::kDescriptors;
  if (message.descriptors.size() != (given ? 3 : 0)) throw SysError(EPROTO, "understand a message");
  attachment_.die_with_parent = true;
  attachment_.wait_for_start = message.type == Message::kCreate;
  if (message.first == Message::kPipes) {
    for (int stream = 0; stream < 3; ++stream) {
      Pipe pipe;
      pipe.LetAnyUserOpen();
      theirs_.push_back(std::move(stream == 0 ? pipe.read : pipe.write));
      ours_.push_back(std::move(stream == 0 ? pipe.write : pipe.read));
    }
  } else if (given) {
    theirs_ = std::move(message.descriptors);
  }
  for (std::size_t i = 0; i < theirs_.size(); ++i) attachment_.stdio[i] = theirs_[i].get();
}

void JobAttachment::CheckTerminal(bool configured) const {
  if (configured == terminal_) return;
  throw SysError(EINVAL, terminal_ ? "process.terminal is not set" : "process.terminal needs a terminal");
}

std::unique_ptr<Job> RunJob(const std::string& state_root, std::unique_ptr<Plan> plan, JobAttachment attachment) {
  attachment.CheckTerminal(plan->config.process && plan->config.process->terminal);
  const bool waits = attachment.attachment().wait_for_start;
  return std::make_unique<ContainerJob>(state_root, std::move(plan), waits, attachment.TakeEnds());
}

std::unique_ptr<Job> ExecJob(const std::string& state_root, const Message& message, JobAttachment attachment) {
  const StateDirectory directory = StateDirectory::Open(state_root, message.text);
  const State state = FindExecTarget(directory, false);
  auto plan = std::make_unique<ExecPlan>();
  plan->config = ParseConfig(directory.ReadConfig());
  const Json json = ParseJson(message.more);
  std::vector<std::string> warnings;  // of capabilities that nobody here can give
  plan->process = ParseProcess(Field(&json, "process"), plan->config.GrantableCapabilities(), warnings);
  attachment.CheckTerminal(plan->process.terminal);
  return std::make_unique<MemberJob>(state, std::move(plan), attachment.attachment(), attachment.TakeEnds());
}

}  // namespace gantry
