// Files and names that are on disk before anybody is told, each by one trip to the thread pool.
#pragma once

#include <napi.h>

/// Adds `writeNew(path, pieces, synced)`, `createDurable(temporary, target, pieces)`, `createUnique(target, pieces,
/// lasting)`, `publishDurable(from, to)`, `markVerified(descriptor, name)` and `replaceDurable(from, to, lasting)` to
/// the exports; each gives a promise.
void InitDurableFile(Napi::Env env, Napi::Object exports);
