#include "addon/errors.h"

#include <cstring>

namespace gantry {

Napi::Error ToJs(Napi::Env env, const SysError& error) {
  const int number = error.code().value();
  Napi::Error result = Napi::Error::New(env, error.what());
  const char* name = ::strerrorname_np(number);
  result.Set("code", Napi::String::New(env, name != nullptr ? name : "UNKNOWN"));
  result.Set("errno", Napi::Number::New(env, number));
  result.Set("step", Napi::String::New(env, error.step));
  return result;
}

}  // namespace gantry
