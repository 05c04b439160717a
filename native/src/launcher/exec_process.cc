#include "launcher/exec_process.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/unclear.h"
#include "launcher/user.h"
#include "runtime/files.h"
#include "runtime/json.h"

namespace gantry {
namespace {

Json Make(Json::Type type, std::string text = "") {
  Json json;
  json.type = type;
  json.text = std::move(text);
  return json;
}
Json Text(std::string text) { return Make(Json::Type::kString, std::move(text)); }
Json Number(std::uint32_t number) { return Make(Json::Type::kNumber, std::to_string(number)); }
Json List() { return Make(Json::Type::kArray); }
Json Switch(bool is_on) {
  Json json = Make(Json::Type::kBool);
  json.boolean = is_on;
  return json;
}
Json Object(std::vector<JsonMember> members) {
  Json json = Make(Json::Type::kObject);
  json.members = std::move(members);
  return json;
}

const Json& Of(const Json& object, std::string_view name, Json::Type type) {
  const Json* member = object.Find(name);
  if (member == nullptr || member->type != type) throw Unclear("a member is missing");
  return *member;
}

std::vector<std::string> TextsOf(const Json& object, std::string_view name) {
  std::vector<std::string> texts;
  for (const Json& item : Of(object, name, Json::Type::kArray).items) {
    if (item.type != Json::Type::kString) throw Unclear("no text");
    texts.push_back(item.text);
  }
  return texts;
}

Json ListOf(const std::vector<std::string>& texts) {
  Json list = List();
  for (const std::string& text : texts) list.items.push_back(Text(text));
  return list;
}

void Set(Json& object, std::string_view name, Json value) {
  const auto member = std::ranges::find(object.members, name, &JsonMember::name);
  if (member == object.members.end()) {
    object.members.push_back({std::string(name), std::move(value)});
  } else {
    member->value = std::move(value);
  }
}

/// Variables in the order in which they were first set (process-spec.ts).
class Environment {
 public:
  void Assign(const std::string& assignment) {
    const auto equals = assignment.find('=');
    if (equals == std::string::npos || equals == 0) return;
    const std::string_view name = std::string_view(assignment).substr(0, equals + 1);
    const auto known = Find(name);
    if (known == all_.end()) {
      all_.push_back(assignment);
    } else {
      *known = assignment;
    }
  }
  void Remove(std::string_view name_equals) {
    const auto known = Find(name_equals);
    if (known != all_.end()) all_.erase(known);
  }
  /// `name_equals`: with the sign behind it.
  bool Has(std::string_view name_equals) { return Find(name_equals) != all_.end(); }
  const std::vector<std::string>& all() const { return all_; }

 private:
  std::vector<std::string>::iterator Find(std::string_view name_equals) {
    return std::ranges::find_if(all_, [&](const std::string& each) { return each.starts_with(name_equals); });
  }
  std::vector<std::string> all_;
};

std::vector<std::string> VariablesOf(const Json& process, const Asked& asked, const ResolvedUser* user) {
  Environment environment;
  for (const std::string& assignment : TextsOf(process, "env")) {
    if (user == nullptr || !assignment.starts_with("HOME=")) environment.Assign(assignment);
  }
  if (user != nullptr) environment.Assign("HOME=" + user->home);
  if (asked.terminal && !environment.Has("TERM=")) environment.Assign("TERM=xterm");
  for (const std::string& assignment : asked.environment) {
    if (assignment.empty() || assignment.starts_with('=')) throw Unclear("no variable");
    if (assignment.find('=') != std::string::npos) {
      environment.Assign(assignment);
    } else if (const char* value = ::getenv(assignment.c_str())) {
      environment.Assign(assignment + "=" + value);
    } else {
      environment.Remove(assignment + "=");
    }
  }
  return environment.all();
}

/// A user who is not root starts without effective capabilities (spec.ts).
Json CapabilitiesOf(const Json& process, std::uint32_t uid) {
  const Json& bounding = Of(Of(process, "capabilities", Json::Type::kObject), "bounding", Json::Type::kArray);
  const Json held = uid == 0 ? bounding : List();
  return Object(
      {{"bounding", bounding}, {"effective", held}, {"permitted", held}, {"inheritable", List()}, {"ambient", List()}});
}

}  // namespace

std::string ExecDocument(const ContainerRecord& record, const ContainerState& state, const Asked& asked) {
  const Json bundle = ParseJson(ReadFile(record.folder + "/config.json", kMaxJsonBytes));
  if (bundle.type != Json::Type::kObject) throw Unclear("no bundle");
  const Json& base = Of(bundle, "process", Json::Type::kObject);
  Json process = base;
  std::optional<ResolvedUser> user;
  if (!asked.user.empty()) {
    user = ResolveUser(asked.user, ReadAccountFiles("/proc/" + state.pid + "/root"));
    Json groups = List();
    for (const std::uint32_t gid : user->additional_gids) groups.items.push_back(Number(gid));
    Set(process, "user", Object({{"uid", Number(user->uid)}, {"gid", Number(user->gid)}, {"additionalGids", groups}}));
    Set(process, "capabilities", CapabilitiesOf(base, user->uid));
  }
  Set(process, "terminal", Switch(asked.terminal));
  Set(process, "args", ListOf(asked.command));
  Set(process, "env", ListOf(VariablesOf(base, asked, user ? &*user : nullptr)));
  if (!asked.working_directory.empty()) {
    if (!asked.working_directory.starts_with('/')) throw Unclear("no absolute path");
    Set(process, "cwd", Text(asked.working_directory));
  }
  std::string document = WriteJson(process);
  if (document.size() > kMaxJsonBytes) throw Unclear("a large process");
  ParseJson(document);  // words and variables that are no UTF-8 are replaced by Node's rules
  return document;
}

}  // namespace gantry
