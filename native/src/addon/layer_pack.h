// The layer that a container has written, as a tar, for JavaScript.
#pragma once

#include <napi.h>

void InitLayerPack(Napi::Env env, Napi::Object exports);
