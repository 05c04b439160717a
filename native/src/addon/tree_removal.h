// removeTree for Node.
#pragma once

#include <napi.h>

void InitTreeRemoval(Napi::Env env, Napi::Object exports);
