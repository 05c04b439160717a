// What a file remembers of its last verification (core/verified_mark.h), for JavaScript.
#pragma once

#include <napi.h>

/// Adds `hasVerifiedMark(descriptor, name)` and `forgetCached(descriptor)` to the exports.
void InitVerifiedMark(Napi::Env env, Napi::Object exports);
