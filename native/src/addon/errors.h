// A failed system call as JavaScript sees it: an Error with `code`, `errno` and `step`.
#pragma once

#include <napi.h>

#include "core/sys.h"

namespace gantry {

Napi::Error ToJs(Napi::Env env, const SysError& error);

}  // namespace gantry
