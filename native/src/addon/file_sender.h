// Bytes of files sent into sockets by the kernel, by threads of our own.
#pragma once

#include <napi.h>

/// Adds `openFileSender(callback, into)`, which gives `into` the functions `start(socket, file, start, length)`,
/// `movedBytes(id)` and `cancel(id)`; the callback gets (id, errno or 0, bytes sent).
void InitFileSender(Napi::Env env, Napi::Object exports);
