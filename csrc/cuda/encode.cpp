#include "cuda/encode.h"

#include <cstring>

#include "core/status.h"
#include "cuda/cudart.h"
#include "cuda/runtime.h"

namespace medkern::cuda {
namespace {

// The driver's, which the runtime finds: its ABI, and the numbers of its enumerations.
using Encode = int (*)(void* map, int type, uint32_t rank, void* data, const uint64_t* sizes,
                       const uint64_t* strides, const uint32_t* box, const uint32_t* steps,
                       int interleave, int swizzle, int promotion, int fill);
constexpr int kSwizzle128 = 3, kPromoteTo256 = 3;
constexpr int kTypes[] = {6, 9, 11};  // of TensorType

Encode find_encode() {
  void* found = nullptr;
  int missing = 0;
  expect_success(runtime()->cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, 0, &missing),
                 "tensor maps");
  if (found == nullptr || missing != 0) {
    fail(MK_DEVICE_ERROR, "CUDA: the driver has no cuTensorMapEncodeTiled; CUDA 12 brings it");
  }
  return reinterpret_cast<Encode>(found);
}

// Strides in numbers.
template <int kRank>
TensorMap encode_box(TensorType type, const void* data, const int64_t (&sizes)[kRank],
                     const int64_t (&strides)[kRank - 1], const uint32_t (&box)[kRank],
                     const uint32_t (&steps)[kRank]) {
  static const Encode encode = find_encode();
  const int64_t bytes = type == TensorType::tf32 ? 4 : 2;
  uint64_t lengths[kRank], apart[kRank - 1];
  for (int i = 0; i < kRank; ++i) lengths[i] = static_cast<uint64_t>(sizes[i]);
  for (int i = 0; i < kRank - 1; ++i) apart[i] = static_cast<uint64_t>(strides[i] * bytes);
  // The driver wants 64-byte alignment, which the place of a result needn't have.
  alignas(64) uint64_t words[16];
  const int status = encode(words, kTypes[static_cast<int>(type)], kRank, const_cast<void*>(data),
                            lengths, apart, box, steps, 0, kSwizzle128, kPromoteTo256, 0);
  if (status != 0) fail(MK_INTERNAL, "CUDA: a tensor map was refused, error ", status);
  TensorMap map;
  std::memcpy(map.words, words, sizeof words);
  return map;
}

}  // namespace

TensorMap encode_tensor(TensorType type, const void* data, const TensorShape& s) {
  return encode_box<3>(type, data, {s.inner, s.lines, s.items}, {s.line, s.item},
                       {s.box_inner, s.box_lines, 1}, {1, 1, 1});
}

TensorMap encode_grid(TensorType type, const void* data, const TensorGrid& g) {
  // The driver counts what lies between the places of a box as well.
  uint32_t box[5];
  for (int i = 0; i < 5; ++i) box[i] = g.box[i] * g.steps[i];
  return encode_box<5>(type, data, g.sizes, g.strides, box, g.steps);
}

}  // namespace medkern::cuda
