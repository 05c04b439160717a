// Overlay mounts and their end.
#pragma once

#include <napi.h>

/// Adds `mountOverlay(lower, upper, work, target)` and `unmount(target)` to the exports.
void InitOverlay(Napi::Env env, Napi::Object exports);
