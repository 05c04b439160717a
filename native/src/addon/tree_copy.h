#pragma once

#include <napi.h>

void InitTreeCopy(Napi::Env env, Napi::Object exports);
