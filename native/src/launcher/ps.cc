#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/store.h"
#include "launcher/unclear.h"
#include "launcher/verbs.h"

namespace gantry {
namespace {

using Milliseconds = std::int64_t;

constexpr std::size_t kShortCommand = 20;
constexpr std::size_t kColumnGap = 3;
constexpr std::size_t kLeastColumn = 10;
constexpr std::string_view kEllipsis = "…";

/// Fit for a cell, and quoted by us as by JSON.stringify.
const std::string& Plain(const std::string& text) {
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) < ' ' && c != '\n') || c == '\x7f') throw Unclear("a control character");
  }
  return text;
}

/// Units of UTF-16 that the character takes which this byte begins; 0 where none begins. JavaScript counts in them.
std::size_t UnitsOf(char byte) {
  const auto first = static_cast<unsigned char>(byte);
  if ((first & 0xc0) == 0x80) return 0;
  return first >= 0xf0 ? 2 : 1;
}

std::size_t WidthOf(std::string_view text) {
  std::size_t units = 0;
  for (const char c : text) units += UnitsOf(c);
  return units;
}

const std::string& PlainLine(const std::string& text) {
  if (text.find('\n') != std::string::npos) throw Unclear("a line in a cell");
  return Plain(text);
}

Milliseconds Now() {
  using namespace std::chrono;
  return floor<milliseconds>(system_clock::now().time_since_epoch()).count();
}

/// `YYYY-MM-DDTHH:MM:SS.mmm…Z`, as records and monitors have it.
Milliseconds MomentOf(const std::string& text) {
  static constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd.ddd";
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  bool fits = text.size() > kShape.size() && text.back() == 'Z';
  for (std::size_t i = 0; fits && i + 1 < text.size(); ++i) {
    const char wanted = i < kShape.size() ? kShape[i] : 'd';
    fits = wanted == 'd' ? is_digit(text[i]) : text[i] == wanted;
  }
  if (!fits) throw Unclear("a time");
  const auto number = [&](std::size_t at, std::size_t length) {
    int value = 0;
    for (std::size_t i = at; i < at + length; ++i) value = 10 * value + (text[i] - '0');
    return value;
  };
  using namespace std::chrono;
  const year_month_day date(year(number(0, 4)), month(static_cast<unsigned>(number(5, 2))),
                            day(static_cast<unsigned>(number(8, 2))));
  const int hour = number(11, 2), minute = number(14, 2), second = number(17, 2);
  if (!date.ok() || hour > 23 || minute > 59 || second > 59) throw Unclear("a time");
  const auto moment = sys_days(date) + hours(hour) + minutes(minute) + seconds(second) + milliseconds(number(20, 3));
  return moment.time_since_epoch().count();
}

/// client/containers/summary.ts
std::string HumanDuration(Milliseconds elapsed) {
  const std::int64_t seconds = std::max<Milliseconds>(0, elapsed) / 1000;
  const auto said = [](std::int64_t count, const char* unit) { return std::to_string(count) + " " + unit; };
  constexpr std::int64_t kHour = 3600, kDay = 24 * kHour;
  const std::int64_t hours = (seconds + kHour / 2) / kHour;
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return said(seconds, "seconds");
  if (seconds < 120) return "About a minute";
  if (seconds < kHour) return said(seconds / 60, "minutes");
  if (hours == 1) return "About an hour";
  if (hours < 48) return said(hours, "hours");
  if (seconds < 14 * kDay) return said(seconds / kDay, "days");
  if (seconds < 60 * kDay) return said(seconds / (7 * kDay), "weeks");
  if (seconds < 2 * 365 * kDay) return said(seconds / (30 * kDay), "months");
  return said(seconds / (365 * kDay), "years");
}

std::string StatusText(const ContainerState& state, Milliseconds now) {
  using enum ContainerState::Status;
  const auto since = [now](const std::string& time) { return HumanDuration(now - MomentOf(time)); };
  const std::string& ended = state.finished_at.empty() ? state.started_at : state.finished_at;
  switch (state.status) {
    case kCreated:
      return "Created";
    case kExited:
      return "Exited (" + state.exit_code + ") " + since(ended) + " ago";
    case kRestarting:
      return "Restarting (" + state.exit_code + ") " + since(state.finished_at) + " ago";
    case kPaused:
      return "Up " + since(state.started_at) + " (Paused)";
    case kRunning:
      break;
  }
  const std::string up = "Up " + since(state.started_at);
  if (state.health.empty()) return up;
  return up + " (" + (state.health == "starting" ? "health: starting" : PlainLine(state.health)) + ")";
}

void AddWords(const Json* list, std::vector<std::string>& words) {
  if (list == nullptr) return;
  if (list->type != Json::Type::kArray) throw Unclear("a command");
  for (const Json& word : list->items) {
    if (word.type != Json::Type::kString) throw Unclear("a word of a command");
    words.push_back(Plain(word.text));
  }
}

/// client/containers/process-spec.ts: a new entrypoint forgets the image's command.
std::string CommandOf(const ContainerRecord& record) {
  std::vector<std::string> words;
  const Json* entrypoint = record.request.Find("entrypoint");
  if (entrypoint == nullptr) {
    AddWords(FindSome(record.process, "Entrypoint"), words);
  } else if (const std::string& word = TextOf(record.request, "entrypoint"); !word.empty()) {
    words.push_back(Plain(word));
  }
  const std::size_t before = words.size();
  AddWords(FindSome(record.request, "command"), words);
  if (words.size() == before && entrypoint == nullptr) AddWords(FindSome(record.process, "Cmd"), words);
  if (words.empty() || words.front().empty()) throw Unclear("no command");
  std::string command;
  for (const std::string& word : words) {
    if (&word == &words.front()) {
      command = word;
    } else {
      command += word.find(' ') == std::string::npos ? " " + word : " '" + word + "'";
    }
  }
  return command;
}

std::string Shown(const std::string& command, bool whole) {
  if (whole || WidthOf(command) <= kShortCommand) return QuoteJson(command);
  std::size_t cut = 0;
  for (std::size_t units = 0; units + UnitsOf(command[cut]) < kShortCommand; ++cut) units += UnitsOf(command[cut]);
  if (WidthOf(command.substr(0, cut)) + 1 != kShortCommand) throw Unclear("half of a character");
  std::string quoted = QuoteJson(command.substr(0, cut));
  return quoted.insert(quoted.size() - 1, kEllipsis);
}

using Row = std::array<std::string, 7>;

/// client/verbs/templates/listing.ts
std::string Table(const std::vector<Row>& rows) {
  std::array<std::size_t, std::tuple_size_v<Row> - 1> widths{};
  for (std::size_t i = 0; i < widths.size(); ++i) {
    widths[i] = kLeastColumn;
    for (const Row& row : rows) widths[i] = std::max(widths[i], WidthOf(row[i]) + kColumnGap);
  }
  std::string text;
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < widths.size(); ++i) text += row[i] + std::string(widths[i] - WidthOf(row[i]), ' ');
    text += row.back() + "\n";
  }
  return text;
}

}  // namespace

std::string PsText(const Asked& asked) {
  const Store store(asked.root);
  const Milliseconds now = Now();
  std::vector<Row> rows{{"CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"}};
  std::string ids;
  for (const ContainerRecord& record : std::views::reverse(store.List())) {
    const ContainerState state = store.StateOf(record);
    if (!asked.all && !state.IsAlive()) continue;
    const std::string id = asked.whole ? record.id : record.id.substr(0, kShortId);
    ids += id + "\n";
    if (asked.quiet) continue;
    rows.push_back({id, PlainLine(record.image), Shown(CommandOf(record), asked.whole),
                    HumanDuration(now - MomentOf(record.created)) + " ago", StatusText(state, now), "",
                    PlainLine(record.name)});
  }
  return asked.quiet ? ids : Table(rows);
}

}  // namespace gantry
