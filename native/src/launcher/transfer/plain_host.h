// Registries that are spoken to in plain http, on this machine, and of which nothing else has been said: no mirrors, no
// certificates, no proxies (client/registry/registry-access.ts). Who they want to know us as they say with 401.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

namespace gantry {

struct PlainHost {
  std::string registry;                     // as it was typed
  std::string name;                         // as a Host header and an address of a page have it
  std::vector<sockaddr_storage> addresses;  // in the order in which they are tried
};

/// Throws an exception if there may be more to it.
PlainHost PlainHostOf(const std::string& registry);

}  // namespace gantry
