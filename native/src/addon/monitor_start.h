// startMonitor(executable, folder): a detached monitor, and the socket to it.
#pragma once

#include <napi.h>

void InitMonitorStart(Napi::Env env, Napi::Object exports);
