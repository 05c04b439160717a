// Files as far as memory has them: never waits for a disk.
#pragma once

#include <napi.h>

/// Adds `readCached(path, into, known)` and `statCached(path, into)` to the exports.
void InitCachedFile(Napi::Env env, Napi::Object exports);
