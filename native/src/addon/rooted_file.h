// Files of an image, read from outside of it.
#pragma once

#include <napi.h>

/// Adds `readFileInRoot(root, path, limitBytes)` to the exports.
void InitRootedFile(Napi::Env env, Napi::Object exports);
