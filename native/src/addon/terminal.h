// The modes of a terminal.
#pragma once

#include <napi.h>

/// Adds `makeTerminalRaw(fd)` and `restoreTerminal(fd, modes)` to the exports.
void InitTerminal(Napi::Env env, Napi::Object exports);
