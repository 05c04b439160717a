#include "launcher/user.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <optional>

#include "core/sys.h"
#include "launcher/unclear.h"
#include "runtime/files.h"
#include "runtime/inside.h"

namespace gantry {
namespace {

constexpr std::size_t kAccountFileBytes = 10U << 20;
constexpr std::size_t kIdDigits = 10;
constexpr std::uint64_t kMostId = (std::uint64_t{1} << 31) - 1;
constexpr std::string_view kSpace = " \t\n\v\f\r";

std::string ReadAccountFile(int rootfs, const char* path) {
  // A fifo must not make us wait.
  const UniqueFd file(OpenInside(rootfs, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, RESOLVE_NO_MAGICLINKS));
  if (file.get() < 0 && (errno == ENOENT || errno == ENOTDIR)) return "";
  struct stat status{};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) throw SysError(errno, std::string("read ") + path);
  if (!S_ISREG(status.st_mode)) throw Unclear("no regular file");
  return ReadAll(file.get(), kAccountFileBytes, path);
}

using Fields = std::vector<std::string_view>;

Fields Split(std::string_view text, char separator) {
  Fields fields;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    fields.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return fields;
}

std::string_view At(const Fields& fields, std::size_t index) { return index < fields.size() ? fields[index] : ""; }

std::vector<Fields> Lines(std::string_view text) {
  std::vector<Fields> lines;
  for (std::string_view line : Split(text, '\n')) {
    line.remove_prefix(std::min(line.find_first_not_of(kSpace), line.size()));
    line = line.substr(0, line.find_last_not_of(kSpace) + 1);
    if (!line.empty() && line[0] != '#') lines.push_back(Split(line, ':'));
  }
  return lines;
}

std::optional<std::uint32_t> ParseId(std::string_view text) {
  std::uint64_t id = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (text.empty() || text.size() > kIdDigits || error != std::errc() || rest != text.data() + text.size() ||
      id > kMostId) {
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(id);
}

/// None where the text is a name.
std::optional<std::uint32_t> ExplicitId(std::string_view text) {
  const bool is_signed = text.starts_with('+') || text.starts_with('-');
  const std::string_view digits = text.substr(is_signed ? 1 : 0);
  if (digits.empty() || digits.find_first_not_of("0123456789") != digits.npos) return std::nullopt;
  const auto id = ParseId(text);
  if (!id) throw Unclear("an id out of range");
  return id;
}

std::uint32_t ResolveGroup(std::string_view text, const std::vector<Fields>& groups) {
  if (const auto id = ExplicitId(text)) return *id;
  const auto group = std::ranges::find(groups, text, [](const Fields& each) { return At(each, 0); });
  const auto gid = group == groups.end() ? std::nullopt : ParseId(At(*group, 2));
  if (!gid) throw Unclear("no such group");
  return *gid;
}

bool IsMember(const Fields& group, std::string_view name) {
  if (group.size() < 4) return false;
  const Fields members = Split(group[3], ',');
  return std::ranges::find(members, name) != members.end();
}

void CheckAscii(std::string_view text) {
  // Others are trimmed, and what is no UTF-8 is replaced, by rules of JavaScript's own.
  if (std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0x80; })) {
    throw Unclear("more than ASCII");
  }
}

}  // namespace

AccountFiles ReadAccountFiles(const std::string& rootfs) {
  const UniqueFd root(
      checked("open the root", [&] { return ::open(rootfs.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
  return {ReadAccountFile(root.get(), "/etc/passwd"), ReadAccountFile(root.get(), "/etc/group")};
}

ResolvedUser ResolveUser(std::string_view specification, const AccountFiles& files) {
  for (const std::string_view text : {specification, std::string_view(files.passwd), std::string_view(files.group)}) {
    CheckAscii(text);
  }
  const Fields parts = Split(specification, ':');
  if (parts.size() > 2) throw Unclear("no user");
  const std::string_view wanted = parts[0].empty() ? "0" : parts[0];
  const std::string_view group = At(parts, 1);
  const std::vector<Fields> accounts = Lines(files.passwd);
  const std::vector<Fields> groups = Lines(files.group);
  const auto number = ExplicitId(wanted);
  const auto account = std::ranges::find_if(
      accounts, [&](const Fields& each) { return number ? ParseId(At(each, 2)) == number : At(each, 0) == wanted; });
  const bool is_known = account != accounts.end();
  const auto uid = number || !is_known ? number : ParseId(At(*account, 2));
  const auto own_group = is_known ? ParseId(At(*account, 3)) : 0;
  if (!uid || !own_group) throw Unclear("no such user");

  ResolvedUser user{*uid, group.empty() ? *own_group : ResolveGroup(group, groups), {}, "/"};
  user.additional_gids.push_back(user.gid);
  if (!is_known) return user;
  if (const std::string_view home = At(*account, 5); !home.empty()) user.home = home;
  for (const Fields& each : groups) {
    const auto gid = ParseId(At(each, 2));
    if (!group.empty() || !gid || !IsMember(each, At(*account, 0))) continue;
    if (std::ranges::find(user.additional_gids, *gid) == user.additional_gids.end()) {
      user.additional_gids.push_back(*gid);
    }
  }
  return user;
}

}  // namespace gantry
