// Folders: their names in order, and what changes in them.
#pragma once

#include <napi.h>

/// Adds `readFolder(path)`, `openWatch()`, `watchFolder(watch, path)`, `unwatchFolder(watch, id)`, `readChanges(watch)`
/// and `closeWatch(watch)` to the exports.
void InitFolder(Napi::Env env, Napi::Object exports);
