#include "monitor/memory.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace gantry {
namespace {

int ReleaseSegments(dl_phdr_info* object, std::size_t, void*) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;  // what was written has no other copy
    const std::uintptr_t from = (object->dlpi_addr + segment.p_vaddr + page - 1) / page * page;
    const std::uintptr_t to = (object->dlpi_addr + segment.p_vaddr + segment.p_memsz) / page * page;
    if (to > from) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void ReleaseMemory() {
  ::malloc_trim(0);
  ::dl_iterate_phdr(ReleaseSegments, nullptr);
}

}  // namespace gantry
