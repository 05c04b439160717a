// Bytes from one socket into another, moved by the kernel, by threads of our own.
#pragma once

#include <napi.h>

/// Adds `openSocketRelay(callback, into)`, which gives `into` the functions `start(from, to, pieces, length)`,
/// `movedBytes(id)`, `isStarved(id)` and `cancel(id)`; the callback gets (id, errno or 0, step, bytes sent).
void InitSocketRelay(Napi::Env env, Napi::Object exports);
