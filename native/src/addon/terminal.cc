#include "addon/terminal.h"

#include <termios.h>

#include <cstring>

#include "addon/errors.h"
#include "core/sys.h"

namespace gantry {
namespace {

/// The modes as they were, for restoreTerminal.
Napi::Value MakeTerminalRaw(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>().Int32Value();
  try {
    termios before = {};
    checked("ask for the terminal's modes", [&] { return ::tcgetattr(fd, &before); });
    termios raw = before;
    ::cfmakeraw(&raw);
    checked("make the terminal raw", [&] { return ::tcsetattr(fd, TCSADRAIN, &raw); });
    return Napi::Buffer<char>::Copy(env, reinterpret_cast<const char*>(&before), sizeof before);
  } catch (const SysError& error) {
    throw ToJs(env, error);
  }
}

/// A terminal that is gone needs no restoring.
void RestoreTerminal(const Napi::CallbackInfo& info) {
  const auto saved = info[1].As<Napi::Buffer<char>>();
  termios modes = {};
  if (saved.Length() != sizeof modes) throw Napi::TypeError::New(info.Env(), "these are no modes of a terminal");
  std::memcpy(&modes, saved.Data(), sizeof modes);
  ::tcsetattr(info[0].As<Napi::Number>().Int32Value(), TCSADRAIN, &modes);
}

}  // namespace
}  // namespace gantry

void InitTerminal(Napi::Env env, Napi::Object exports) {
  exports.Set("makeTerminalRaw", Napi::Function::New(env, gantry::MakeTerminalRaw, "makeTerminalRaw"));
  exports.Set("restoreTerminal", Napi::Function::New(env, gantry::RestoreTerminal, "restoreTerminal"));
}
