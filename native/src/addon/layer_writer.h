// Layers, written off the main thread.
#pragma once

#include <napi.h>

/// Adds `LayerWriter` to the exports; one call of one writer at a time.
void InitLayerWriter(Napi::Env env, Napi::Object exports);
