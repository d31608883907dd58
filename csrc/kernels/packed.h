// Packed weights: they lie in memory of the caller's behind a header that says what they are, so
// that a later call can check them. Each family extends the header by what it needs to know.
#pragma once

#include <cstddef>
#include <cstdint>

namespace medkern {

struct PackedHeader {
  uint64_t mark;        // of the family: the bytes are its header
  size_t bytes;         // header and weights
  const void* kernels;  // which packed them: those of another instruction set can't read them
};

// Bytes of a family's header: weights behind it are aligned as it is.
template <class Header>
constexpr size_t kHeaderBytes = (sizeof(Header) + 63) / 64 * 64;

// The weights behind a header.
template <class Header>
const void* weights_of(const Header& header) {
  return reinterpret_cast<const char*>(&header) + kHeaderBytes<Header>;
}
template <class Header>
void* weights_of(Header& header) {
  return reinterpret_cast<char*>(&header) + kHeaderBytes<Header>;
}

// Memory to pack into has just the bytes needed, and is aligned to 64.
void expect_packing_memory(const char* op, const void* packed, size_t bytes, size_t needed);

// `packed` is what `writer` wrote: aligned, with a header of this mark and all its bytes.
void expect_packed(const char* op, const void* packed, size_t bytes, size_t header_bytes,
                   uint64_t mark, const char* writer);

// The weights were packed by these kernels.
void expect_packed_by(const char* op, const PackedHeader& header, const void* kernels);

}  // namespace medkern
