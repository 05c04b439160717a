// Bytes of files sent into sockets by the kernel, by threads of our own.
#pragma once

#include <napi.h>

/// Adds `openFileSender(callback, into)`, which gives `into` the functions `startSending(socket, file, start, length)`,
/// `sentBytes(id)` and `cancelSending(id)`; the callback gets (id, errno or 0, bytes sent).
void InitFileSender(Napi::Env env, Napi::Object exports);
