// Bytes of sockets received into files, hashed on their way, by threads of our own.
#pragma once

#include <napi.h>

/// Adds `openFileReceiver(callback, into)`, which gives `into` the functions `start(socket, file, pieces, offset,
/// length, step, states)`, `movedBytes(id)`, `resume(id)` and `cancel(id)`. The callback gets (id, whether it is over,
/// errno or 0, what failed, offset, bytes received, states): for each multiple of `step` that was passed, and at the
/// end.
void InitFileReceiver(Napi::Env env, Napi::Object exports);
