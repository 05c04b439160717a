#include "launcher/transfer/plain_host.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "launcher/store.h"
#include "launcher/unclear.h"
#include "runtime/files.h"

namespace gantry {
namespace {

constexpr std::size_t kConfigurationBytes = 1U << 20;
constexpr std::uint16_t kHttpPort = 80;
constexpr std::string_view kSpaces = " \t";

std::string HomeConfiguration() {
  if (const std::string said = Variable("XDG_CONFIG_HOME"); !said.empty()) return said;
  const std::string home = Variable("HOME");
  if (home.empty()) throw Unclear("where the user's own folder is");
  return home + "/.config";
}

void ExpectNothingAt(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0 || errno != ENOENT) throw Unclear("a configuration");
}

void ExpectNothingSaid(const std::string& registry) {
  for (const char* name :
       {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "GANTRY_CLIENT_CONFIG", "NODE_OPTIONS"}) {
    if (!Variable(name).empty()) throw Unclear("a configuration");
  }
  const std::string own = HomeConfiguration();
  for (const std::string& folder : {own + "/gantry", std::string("/etc/gantry")}) {
    ExpectNothingAt(folder + "/client.yaml");
  }
  for (const std::string& folder :
       {own + "/containers", own + "/docker", std::string("/etc/containers"), std::string("/etc/docker")}) {
    ExpectNothingAt(folder + "/certs.d/" + registry);
  }
}

/// The words of each line, without comments.
std::vector<std::vector<std::string>> LinesOf(const std::string& path) {
  const std::string text = ReadFile(path, kConfigurationBytes);
  std::vector<std::vector<std::string>> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view whole = std::string_view(text).substr(at, end - at);
    const std::string_view line = whole.substr(0, whole.find('#'));
    std::vector<std::string> words;
    for (std::size_t from = 0; (from = line.find_first_not_of(kSpaces, from)) != line.npos;) {
      const std::size_t to = std::min(line.find_first_of(kSpaces, from), line.size());
      words.emplace_back(line.substr(from, to - from));
      from = to;
    }
    if (!words.empty()) lines.push_back(std::move(words));
    at = end + 1;
  }
  return lines;
}

sockaddr_storage AddressOf(const std::string& text, std::uint16_t port) {
  sockaddr_storage address{};
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1 &&
      (::ntohl(v4->sin_addr.s_addr) >> 24) == IN_LOOPBACKNET) {
    v4->sin_family = AF_INET;
    v4->sin_port = ::htons(port);
  } else if (text == "::1" && ::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = ::htons(port);
  } else {
    throw Unclear("an address");
  }
  return address;
}

/// As getaddrinfo(3) reads the hosts file, and sorts what it finds by RFC 6724, section 2.1.
std::vector<sockaddr_storage> LocalhostAt(std::uint16_t port) {
  std::vector<sockaddr_storage> addresses;
  for (const std::vector<std::string>& words : LinesOf("/etc/hosts")) {
    if (std::find(words.begin() + 1, words.end(), "localhost") == words.end()) continue;
    const sockaddr_storage address = AddressOf(words[0], port);
    const auto is_same = [&](const sockaddr_storage& each) {
      return std::memcmp(&each, &address, sizeof address) == 0;
    };
    if (std::ranges::none_of(addresses, is_same)) addresses.push_back(address);
  }
  if (addresses.empty()) throw Unclear("where localhost is");
  if (addresses.size() > 1 && ::access("/etc/gai.conf", F_OK) == 0 && !LinesOf("/etc/gai.conf").empty()) {
    throw Unclear("an order of addresses");
  }
  std::ranges::stable_partition(addresses, [](const sockaddr_storage& each) { return each.ss_family == AF_INET6; });
  return addresses;
}

/// Without leading zeros, which an address of a page loses.
std::uint16_t PortOf(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || text[0] == '0') throw Unclear("a port");
  return port;
}

}  // namespace

PlainHost PlainHostOf(const std::string& registry) {
  const std::size_t colon = registry.starts_with('[') ? registry.find(':', registry.find(']')) : registry.find(':');
  const std::string host = registry.substr(0, colon);
  const std::uint16_t port = colon == registry.npos ? kHttpPort : PortOf(std::string_view(registry).substr(colon + 1));
  PlainHost plain{.registry = registry, .name = port == kHttpPort ? host : registry, .addresses = {}};
  if (host == "localhost") {
    plain.addresses = LocalhostAt(port);
  } else if (host == "[::1]") {
    plain.addresses = {AddressOf("::1", port)};
  } else if (!host.starts_with('[')) {
    plain.addresses = {AddressOf(host, port)};
  } else {
    throw Unclear("an address");
  }
  ExpectNothingSaid(registry);
  return plain;
}

}  // namespace gantry
