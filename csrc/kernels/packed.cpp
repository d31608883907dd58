#include "kernels/packed.h"

#include "core/status.h"

namespace medkern {
namespace {

bool is_aligned(const void* packed) { return reinterpret_cast<uintptr_t>(packed) % 64 == 0; }

}  // namespace

void expect_packing_memory(const char* op, const void* packed, size_t bytes, size_t needed) {
  require(packed != nullptr && bytes == needed, op, ": packed must have ", needed, " bytes, got ",
          packed != nullptr ? bytes : 0);
  require(is_aligned(packed), op, ": packed must be aligned to 64 bytes");
}

void expect_packed(const char* op, const void* packed, size_t bytes, size_t header_bytes,
                   uint64_t mark, const char* writer) {
  require(packed != nullptr && bytes >= header_bytes, op, ": packed weights need at least ",
          header_bytes, " bytes, got ", packed != nullptr ? bytes : 0);
  require(is_aligned(packed), op, ": packed must be aligned to 64 bytes");
  const auto& header = *static_cast<const PackedHeader*>(packed);
  require(header.mark == mark && header.bytes == bytes, op, ": packed must be what ", writer,
          " wrote");
}

void expect_packed_by(const char* op, const PackedHeader& header, const void* kernels) {
  require(header.kernels == kernels, op, ": the weights were packed for another instruction set");
}

}  // namespace medkern
