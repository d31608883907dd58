// Entry points of random numbers: check, then call the table.
#include "kernels/random/random.h"

#include <cmath>

#include "kernels/table.h"
#include "medkern/random.h"

namespace medkern {
namespace {

constexpr int64_t kWordsPerBlock = 4;

void expect_finite(const char* op, const char* name, double value, Dtype dtype) {
  const bool finite =
      dtype == Dtype::f32 ? std::isfinite(static_cast<float>(value)) : std::isfinite(value);
  require(finite, op, ": ", name, " must be a finite ", name_of(dtype), ", got ", value);
}

// Moves *offset past the blocks that `count` elements of so many words use; gives what it was.
uint64_t take_blocks(const char* op, uint64_t* offset, int64_t count, int64_t words) {
  const int64_t used =
      checked_add(op, checked_mul(op, count, words), kWordsPerBlock - 1) / kWordsPerBlock;
  const uint64_t first = *offset;
  uint64_t next;
  require(!__builtin_add_overflow(first, static_cast<uint64_t>(used), &next), op, ": offset ",
          first, " leaves no room for ", used, " blocks");
  *offset = next;
  return first;
}

TensorView expect_random_output(const char* op, const uint64_t* offset, const DLTensor* y) {
  require(offset != nullptr, op, ": offset is NULL");
  const TensorView yv = view(op, "y", y);
  expect_float(op, yv);
  expect_dense(op, yv);
  return yv;
}

int64_t words_per_element(Dtype dtype) { return dtype == Dtype::f64 ? 2 : 1; }

// `other` is laid out in memory as `x`.
void expect_same_format(const char* op, const TensorView& other, const TensorView& x) {
  require((is_contiguous(other) && is_contiguous(x)) ||
              (is_channels_last(other) && is_channels_last(x)),
          op, ": ", other.name, " must have the memory format of ", x.name, ", got strides ",
          shape_text(other.rank, other.strides), " for ", shape_text(x.rank, x.strides));
}

// The result of an elementwise operation on x: like it in everything, and either x or apart from
// it.
void expect_twin(const char* op, const TensorView& y, const TensorView& x) {
  expect_same_dtype(op, y, x);
  expect_same_shape(op, y, x);
  expect_same_format(op, y, x);
  expect_same_device(op, y, x);
  if (y.data != x.data) expect_no_overlap(op, y, x);
}

double dropout_scale(const char* op, double p) {
  require(p >= 0 && p <= 1, op, ": p must be from 0 to 1, got ", p);
  return p < 1 ? 1 / (1 - p) : 0;
}

void expect_mask(const char* op, const TensorView& mask, const TensorView& x) {
  expect_dtype(op, mask, Dtype::u8);
  expect_same_shape(op, mask, x);
  expect_dense(op, mask);
  expect_same_device(op, mask, x);
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_random_uniform(uint64_t seed, uint64_t* offset, double low, double high,
                                       DLTensor* y) {
  return guarded([&] {
    const char* op = "uniform";
    const TensorView yv = expect_random_output(op, offset, y);
    expect_finite(op, "low", low, yv.dtype);
    expect_finite(op, "high", high, yv.dtype);
    require(low <= high, op, ": low must be at most high, got ", low, " and ", high);
    expect_finite(op, "high - low", high - low, yv.dtype);
    const double below = low == high ? low
                         : yv.dtype == Dtype::f32
                             ? std::nextafter(static_cast<float>(high), static_cast<float>(low))
                             : std::nextafter(high, low);
    const RandomKernels& kernels = *kernels_for(yv.device).random;
    const uint64_t first = take_blocks(op, offset, yv.count, words_per_element(yv.dtype));
    kernels.uniform({yv.dtype, seed, first, low, high - low, below, yv.data, yv.count});
  });
}

extern "C" mk_status mk_random_normal(uint64_t seed, uint64_t* offset, double mean, double std,
                                      DLTensor* y) {
  return guarded([&] {
    const char* op = "normal";
    const TensorView yv = expect_random_output(op, offset, y);
    expect_finite(op, "mean", mean, yv.dtype);
    expect_finite(op, "std", std, yv.dtype);
    require(std >= 0, op, ": std must be at least 0, got ", std);
    const RandomKernels& kernels = *kernels_for(yv.device).random;
    const uint64_t first = take_blocks(op, offset, yv.count, words_per_element(yv.dtype));
    kernels.normal({yv.dtype, seed, first, mean, std, 0, yv.data, yv.count});
  });
}

extern "C" mk_status mk_dropout_forward(double p, uint64_t seed, uint64_t* offset,
                                        const DLTensor* x, DLTensor* y, DLTensor* mask) {
  return guarded([&] {
    const char* op = "dropout";
    const double scale = dropout_scale(op, p);
    require(offset != nullptr, op, ": offset is NULL");
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y), mv = view(op, "mask", mask);
    expect_float_or_bfloat(op, xv);
    expect_dense(op, xv);
    expect_twin(op, yv, xv);
    expect_mask(op, mv, xv);
    expect_same_format(op, mv, xv);
    expect_no_overlap(op, mv, xv);
    expect_no_overlap(op, mv, yv);
    const auto threshold = static_cast<uint64_t>(std::nearbyint(p * 0x1p32));
    const RandomKernels& kernels = *kernels_for(xv.device).random;
    const uint64_t first = take_blocks(op, offset, xv.count, 1);
    kernels.dropout(
        {xv.dtype, seed, first, threshold, scale, xv.data, yv.data, mv.as<uint8_t>(), xv.count});
  });
}

extern "C" mk_status mk_dropout_backward(double p, const DLTensor* dy, const DLTensor* mask,
                                         DLTensor* dx) {
  return guarded([&] {
    const char* op = "dropout_backward";
    const double scale = dropout_scale(op, p);
    const TensorView dyv = view(op, "dy", dy), mv = view(op, "mask", mask);
    const TensorView dxv = view(op, "dx", dx);
    expect_float_or_bfloat(op, dyv);
    expect_dense(op, dyv);
    expect_twin(op, dxv, dyv);
    expect_mask(op, mv, dyv);
    expect_no_overlap(op, dxv, mv);
    if (dyv.count == 0) return;
    kernels_for(dyv.device).random->apply_mask({dyv.dtype, scale, dyv, mv, dxv.data});
  });
}
