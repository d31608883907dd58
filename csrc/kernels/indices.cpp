#include "kernels/indices.h"

#include "kernels/table.h"

namespace medkern {
namespace {

// Element offset of the `flat`-th element in row-major order.
int64_t offset_of(const TensorView& x, int64_t flat) {
  int64_t offset = 0;
  for (int i = x.rank - 1; i >= 0; --i) {
    offset += flat % x.shape[i] * x.strides[i];
    flat /= x.shape[i];
  }
  return offset;
}

int64_t value_at(const TensorView& x, int64_t offset) {
  return x.dtype == Dtype::u8    ? x.as<const uint8_t>()[offset]
         : x.dtype == Dtype::i32 ? x.as<const int32_t>()[offset]
                                 : x.as<const int64_t>()[offset];
}

}  // namespace

void expect_indices(const char* op, const TensorView& x, int64_t low, int64_t high) {
  if (x.count == 0 || kernels_for(x.device).reduce->inside(op, x, low, high)) return;
  for (int64_t flat = 0; flat < x.count; ++flat) {
    const int64_t value = value_at(x, offset_of(x, flat));
    if (value < low || value > high) {
      fail(MK_INVALID_ARGUMENT, op, ": ", x.name, " must be from ", low, " to ", high, ", got ",
           value, " at flat index ", flat);
    }
  }
}

}  // namespace medkern
