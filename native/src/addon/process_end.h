// exitNow for Node.
#pragma once

#include <napi.h>

void InitProcessEnd(Napi::Env env, Napi::Object exports);
