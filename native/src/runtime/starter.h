// The library, or the launcher, that has an exec done (--starter), on descriptor 3: it tells what is to run, and is
// told what it cannot know from our end.
#pragma once

#include <string>

namespace gantry {

/// The process.json, which is all that there is to be read from it: a socket of which one direction was shut down.
/// Nothing of it is anywhere afterwards.
std::string HearStarter();

/// "l": we stay, to hold a terminal, and nobody needs to wait for longer.
void TellLeft();

/// "f" and the reason: nothing was started. The exit code is docker's.
int TellFailure(const std::string& message);

}  // namespace gantry
