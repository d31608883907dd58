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

}  // namespace

TensorMap encode_tensor(TensorType type, const void* data, const TensorShape& s) {
  static const Encode encode = find_encode();
  const int64_t bytes = type == TensorType::tf32 ? 4 : 2;
  const uint64_t sizes[] = {static_cast<uint64_t>(s.inner), static_cast<uint64_t>(s.lines),
                            static_cast<uint64_t>(s.items)};
  const uint64_t strides[] = {static_cast<uint64_t>(s.line * bytes),
                              static_cast<uint64_t>(s.item * bytes)};
  const uint32_t box[] = {s.box_inner, s.box_lines, 1}, steps[] = {1, 1, 1};
  // The driver wants 64-byte alignment, which the place of a result needn't have.
  alignas(64) uint64_t words[16];
  const int status = encode(words, kTypes[static_cast<int>(type)], 3, const_cast<void*>(data),
                            sizes, strides, box, steps, 0, kSwizzle128, kPromoteTo256, 0);
  if (status != 0) fail(MK_INTERNAL, "CUDA: a tensor map was refused, error ", status);
  TensorMap map;
  std::memcpy(map.words, words, sizeof words);
  return map;
}

}  // namespace medkern::cuda
