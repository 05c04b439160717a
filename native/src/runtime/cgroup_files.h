// The files of one cgroup, in whichever hierarchy of this host has them.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace gantry {

class CgroupFiles {
 public:
  explicit CgroupFiles(const std::vector<std::string>& directories) : directories_(directories) {}

  bool Has(const std::string& file) const { return Find(file).has_value(); }
  /// Nothing where no hierarchy has such a file.
  std::optional<std::string> Read(const std::string& file) const;
  /// `property` ("memory.limit") is what of linux.resources asks for it. Throws ConfigError where no hierarchy has such
  /// a file, SysError where the kernel refuses the value.
  void Write(const std::string& file, const std::string& value, const std::string& property) const;

 private:
  std::optional<std::string> Find(const std::string& file) const;

  const std::vector<std::string>& directories_;
};

}  // namespace gantry
