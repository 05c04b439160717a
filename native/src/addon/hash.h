// Running hashes for JavaScript.
#pragma once

#include <napi.h>

/// Adds the class `Hash` to the exports.
void InitHash(Napi::Env env, Napi::Object exports);
