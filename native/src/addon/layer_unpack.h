// Layers, unpacked by threads of their own.
#pragma once

#include <napi.h>

/// Adds `LayerUnpack` and `openPipe` to the exports.
void InitLayerUnpack(Napi::Env env, Napi::Object exports);
