// The addon's end of the conversation with `gantry-runtime serve`. Nothing here enters a namespace.
#pragma once

#include <napi.h>

/// Adds the class `RuntimeClient(executable, stateRoot, onMessage)` and `setTerminalSize(fd, columns, rows)` to the
/// exports.
void InitRuntimeClient(Napi::Env env, Napi::Object exports);
