// What is said to whoever called: on standard error, and in the file of --log, one line for each thing.
#pragma once

#include <string>

namespace gantry {

/// From now on there is a file. Nothing is opened before there is something to say.
void LogTo(const std::string& path, bool json);

/// For what goes on all the same. Where there is a file, it waits there for the end of the verb: who reads the file as
/// one document (podman) wants one line, and if the verb fails, that is its failure. Otherwise to standard error at
/// once, which is not done where there is a file, because it is the container's by then.
void Warn(const std::string& message);

/// The verb has done what it should: its warnings go into the file.
void LogSuccess();

/// It has failed: one line for people on standard error, behind the warnings, and one in the file. `who` begins it.
void LogFailure(const std::string& who, const std::string& message);

}  // namespace gantry
