// Byte-range locks that belong to an open file description.
#pragma once

#include <napi.h>

/// Adds `tryLockRange(path, start, length, exclusive)` and `unlockRange(descriptor)` to the exports.
void InitRangeLock(Napi::Env env, Napi::Object exports);
