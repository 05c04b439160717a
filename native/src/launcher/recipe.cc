#include "launcher/recipe.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "core/hash.h"
#include "core/sys.h"
#include "launcher/random.h"
#include "launcher/unclear.h"
#include "runtime/files.h"

namespace gantry {
namespace {

constexpr std::size_t kHostFileBytes = 1U << 20;
constexpr std::string_view kReferenceName = "org.opencontainers.image.ref.name";

const Json& Member(const Json& object, std::string_view name, Json::Type type) {
  const Json* value = object.Find(name);
  if (value == nullptr || value->type != type) throw Unclear("a recipe of another kind");
  return *value;
}

std::vector<std::string> TextsOf(const Json& list) {
  std::vector<std::string> texts;
  for (const Json& each : list.items) {
    if (each.type != Json::Type::kString) throw Unclear("a recipe of another kind");
    texts.push_back(each.text);
  }
  return texts;
}

std::string DigestOf(std::string_view text) {
  Hash hash(HashAlgorithm::kSha256);
  hash.Update({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  return hash.DigestHex();
}

/// What is behind the first line, which is its digest: a byte that a disk has changed would be in every container.
std::string Whole(const std::string& text) {
  const std::size_t end = text.find('\n');
  if (end == text.npos || text.substr(0, end) != DigestOf(std::string_view(text).substr(end + 1))) {
    throw Unclear("a damaged recipe");
  }
  return text.substr(end + 1);
}

std::string InsideJson(const std::string& text) {
  const std::string quoted = QuoteJson(text);
  return quoted.substr(1, quoted.size() - 2);
}

/// As Node has it: empty where there is none, or none to be read.
std::string TextIfReadable(const std::string& path) {
  try {
    return ReadFile(path, kHostFileBytes);
  } catch (const SysError& error) {
    if (error.code().value() == EFBIG) throw;
    return "";
  }
}

}  // namespace

std::string Recipe::KeyOf(const Store& store, const RunWords& run, std::string_view stamp) {
  Hash hash(HashAlgorithm::kSha256);
  const auto add = [&](std::string_view text) {
    hash.Update({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    hash.Update({reinterpret_cast<const std::uint8_t*>(""), 1});  // no text has a NUL in it
  };
  for (const std::string_view text : {stamp, std::string_view(store.root()), std::string_view(run.image)}) add(text);
  // In the environment of what clears the container away.
  for (const char* name : {"GANTRY_STATE_ROOT", "PATH", "HOME"}) add(Variable(name));
  add(run.name.empty() ? "" : "named");
  add(run.command.empty() ? "" : "told");
  for (const std::string& word : run.others) add(word);
  return hash.DigestHex();
}

Recipe Recipe::Read(const Store& store, const std::string& key) {
  const Json json = ParseJson(Whole(ReadFile(store.root() + "/recipes/" + key, kMaxJsonBytes)));
  using enum Json::Type;
  Recipe recipe;
  if (json.type != kObject || Member(json, "version", kNumber).text != "1") throw Unclear("a newer recipe");
  recipe.image_ = TextOf(json, "image");
  recipe.manifest_ = TextOf(json, "manifest");
  const Json& host = Member(json, "host", kObject);
  recipe.host_name_ = TextOf(host, "name");
  for (const JsonMember& file : Member(host, "files", kObject).members) {
    recipe.host_files_.emplace_back(file.name, file.value.text);
  }
  recipe.sources_ = TextsOf(Member(json, "sources", kArray));
  recipe.lower = TextsOf(Member(json, "lower", kArray));
  recipe.removed = Member(json, "removed", kBool).boolean;
  recipe.detached = Member(json, "detached", kBool).boolean;
  recipe.interactive = Member(json, "interactive", kBool).boolean;
  recipe.runtime = TextOf(json, "runtime");
  recipe.state_root = TextOf(json, "stateRoot");
  const Json& names = Member(json, "names", kArray);
  if (names.items.size() != recipe.names_.size()) throw Unclear("a recipe of another kind");
  for (std::size_t i = 0; i < recipe.names_.size(); ++i) {
    recipe.names_[i] = TextsOf(names.items[i]);
    if (recipe.names_[i].empty()) throw Unclear("a recipe of another kind");
  }
  const Json& blanks = Member(json, "blanks", kObject);
  recipe.blanks_ = {.id = TextOf(blanks, "id"),
                    .name = TextOf(blanks, "name"),
                    .created = TextOf(blanks, "created"),
                    .command = {TextOf(blanks, "command")},
                    .values = TextsOf(Member(blanks, "values", kArray))};
  recipe.record_ = TextOf(json, "record");
  for (const Json& file : Member(json, "files", kArray).items) {
    const std::string& mode = Member(file, "mode", kNumber).text;
    recipe.files_.push_back(
        {TextOf(file, "name"), TextOf(file, "text"), static_cast<mode_t>(std::strtoul(mode.c_str(), nullptr, 10))});
  }
  return recipe;
}

bool Recipe::Holds() const {
  utsname host{};
  checked("ask for the host's name", [&] { return ::uname(&host); });
  return host_name_ == host.nodename &&
         std::ranges::all_of(host_files_, [](const auto& file) { return TextIfReadable(file.first) == file.second; }) &&
         std::ranges::all_of(sources_, [](const auto& path) { return ::access(path.c_str(), F_OK) == 0; });
}

bool Recipe::HasImage(const Store& store) const {
  const Json index = ParseJson(ReadFile(store.root() + "/content/index.json", kMaxJsonBytes));
  for (const Json& entry : Member(index, "manifests", Json::Type::kArray).items) {
    const Json* annotations = entry.Find("annotations");
    const Json* name = annotations == nullptr ? nullptr : annotations->Find(kReferenceName);
    if (name != nullptr && name->text == image_) return TextOf(entry, "digest") == manifest_;
  }
  return false;
}

std::vector<RecipeFile> Recipe::FilesFor(const Filling& filling) const {
  std::vector<RecipeFile> files;
  for (const auto& [name, text, mode] : files_) files.push_back({name, Fill(text, filling), mode});
  return files;
}

/// In one pass: what was filled in may be anything, and nothing in it is a blank.
std::string Recipe::Fill(std::string_view text, const Filling& filling) const {
  if (filling.values.size() != blanks_.values.size()) throw Unclear("other variables");
  std::string command;
  for (const std::string& word : filling.command) command += (command.empty() ? "" : ",") + QuoteJson(word);
  struct Blank {
    std::string blank;
    std::string by;
    std::size_t next;  // where it is in the text, behind all that has been filled in
  };
  std::vector<Blank> blanks{{blanks_.id, filling.id, 0},  // before its own beginning
                            {blanks_.id.substr(0, kShortId), filling.id.substr(0, kShortId), 0},
                            {blanks_.name, filling.name, 0},
                            {blanks_.created, filling.created, 0},
                            {QuoteJson(blanks_.command.front()), command, 0}};
  for (std::size_t i = 0; i < filling.values.size(); ++i) {
    blanks.push_back({blanks_.values[i], InsideJson(filling.values[i]), 0});
  }
  for (Blank& each : blanks) each.next = text.find(each.blank);
  std::string filled;
  for (std::size_t at = 0;;) {
    const auto first = std::ranges::min_element(blanks, {}, &Blank::next);
    if (first->next == text.npos) return filled.append(text.substr(at));
    filled.append(text.substr(at, first->next - at)).append(first->by);
    at = first->next + first->blank.size();
    for (Blank& each : blanks) {
      if (each.next < at) each.next = text.find(each.blank, at);
    }
  }
}

std::string Recipe::SomeName() const {
  const auto pick = [](const std::vector<std::string>& words) { return words[RandomNumber() % words.size()]; };
  return pick(names_[0]) + "_" + pick(names_[1]);
}

}  // namespace gantry
