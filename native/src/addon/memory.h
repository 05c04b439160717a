// Memory that JavaScript keeps, without the pages behind it.
#pragma once

#include <napi.h>

/// Adds `forgetPages(bytes)` to the exports.
void InitMemory(Napi::Env env, Napi::Object exports);
