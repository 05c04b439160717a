// Whole small files: read with a bound, replaced in one step.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/sys.h"

namespace gantry {

/// Everything until the end. Throws SysError; EFBIG when there are more than `limit` bytes.
std::string ReadAll(int fd, std::size_t limit, const std::string& name);
std::string ReadFile(const std::string& path, std::size_t limit);

/// Readers see the old content or all of the new one. `durable`: also after a loss of power, once the directory is
/// synced.
void ReplaceFile(int directory, const std::string& name, std::string_view content, unsigned mode, bool durable = false);

}  // namespace gantry
