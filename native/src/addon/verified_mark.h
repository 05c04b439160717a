// What a file remembers of its last verification.
#pragma once

#include <napi.h>

#include <string>

namespace gantry {

/// Every byte of the open file was hashed, and is that of `name`. Cheap, not synced; false where the filesystem keeps
/// no such marks, or takes none now.
bool SetVerifiedMark(int file, const std::string& name) noexcept;

}  // namespace gantry

/// Adds `hasVerifiedMark(descriptor, name)` and `forgetCached(descriptor)` to the exports.
void InitVerifiedMark(Napi::Env env, Napi::Object exports);
