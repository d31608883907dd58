// Entry point of the chain of multiply-adds: check, then call the table.
#include "medkern/peak.h"

#include "core/tensor.h"
#include "kernels/table.h"

using namespace medkern;

extern "C" mk_status mk_fma_chain(const DLTensor* x, int64_t rounds, DLTensor* y) {
  return guarded([&] {
    const char* op = "fma_chain";
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    expect_float(op, xv);
    expect_same_dtype(op, yv, xv);
    expect_same_shape(op, yv, xv);
    for (const TensorView* t : {&xv, &yv}) expect_contiguous(op, *t);
    expect_same_device(op, yv, xv);
    if (yv.data != xv.data) expect_no_overlap(op, yv, xv);
    expect_range(op, "rounds", rounds, 0, INT32_MAX);
    checked_mul(op, 2 * rounds, xv.count);
    if (xv.count > 0) {
      kernels_for(xv.device).peak->fma_chain({xv.dtype, xv.data, yv.data, xv.count, rounds});
    }
  });
}
