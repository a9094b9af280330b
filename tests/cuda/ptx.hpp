// What a module's PTX says of its kernels.
#pragma once

#include <string>
#include <vector>

namespace standin {

struct PtxEntry {
  std::string name;
  /// Bytes of each parameter.
  std::vector<size_t> params;
  /// Bytes of shared memory that it names.
  unsigned shared = 0;
  unsigned max_threads = 1024;
};

struct Ptx {
  /// Ten times the version, and the target as a number, as 75; 0 if there is none.
  int version = 0, target = 0;
  std::vector<PtxEntry> entries;

  explicit Ptx(const std::string &text);
};

} // namespace standin
