// Entry points of embedding: check, then call the table.
#include "medkern/embedding.h"

#include "core/tensor.h"
#include "kernels/indices.h"
#include "kernels/table.h"

namespace medkern {
namespace {

// Shape of y.
void embedding_output_shape(const char* op, const TensorView& indices, const TensorView& weight,
                            int64_t shape[MK_MAX_RANK]) {
  require(indices.rank < MK_MAX_RANK, op, ": indices must have at most ", MK_MAX_RANK - 1,
          " dimensions, got ", indices.rank);
  expect_rank(op, weight, 2);
  int64_t count = weight.shape[1];
  for (int i = 0; i < indices.rank; ++i) {
    shape[i] = indices.shape[i];
    count = checked_mul(op, count, shape[i]);
  }
  shape[indices.rank] = weight.shape[1];
}

// The checks both passes share: `weight` is (V, D), `y` is (indices, D).
EmbeddingArgs embedding_args(const char* op, const TensorView& indices, const TensorView& weight,
                             const TensorView& y, const int64_t* padding_idx) {
  if (indices.dtype != Dtype::i32) expect_dtype(op, indices, Dtype::i64);
  expect_float(op, weight);
  expect_same_dtype(op, y, weight);
  int64_t shape[MK_MAX_RANK];
  embedding_output_shape(op, indices, weight, shape);
  expect_shape(op, y, indices.rank + 1, shape);
  for (const TensorView* t : {&indices, &weight, &y}) {
    expect_contiguous(op, *t);
    expect_same_device(op, *t, weight);
  }
  const int64_t rows = weight.shape[0];
  int64_t padding = -1;
  if (padding_idx != nullptr) {
    expect_range(op, "padding_idx", *padding_idx, -rows, rows - 1);
    padding = *padding_idx < 0 ? *padding_idx + rows : *padding_idx;
  }
  expect_indices(op, indices, 0, rows - 1);
  return {weight.dtype, indices.dtype, indices.count, rows,  weight.shape[1],
          padding,      indices.data,  weight.data,   y.data};
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_embedding_output_shape(const DLTensor* indices, const DLTensor* weight,
                                               int64_t* shape) {
  return guarded([&] {
    const char* op = "embedding";
    const TensorView iv = view(op, "indices", indices);
    int64_t y_shape[MK_MAX_RANK];
    embedding_output_shape(op, iv, view(op, "weight", weight), y_shape);
    give_shape(op, shape, iv.rank + 1, y_shape);
  });
}

extern "C" mk_status mk_embedding_forward(const DLTensor* indices, const DLTensor* weight,
                                          const int64_t* padding_idx, DLTensor* y) {
  return guarded([&] {
    const char* op = "embedding";
    const TensorView iv = view(op, "indices", indices), wv = view(op, "weight", weight);
    const TensorView yv = view(op, "y", y);
    const EmbeddingArgs args = embedding_args(op, iv, wv, yv, padding_idx);
    expect_no_overlap(op, yv, iv);
    expect_no_overlap(op, yv, wv);
    if (yv.count > 0) kernels_for(wv.device).embedding->forward(args);
  });
}

extern "C" mk_status mk_embedding_backward(const DLTensor* dy, const DLTensor* indices,
                                           const int64_t* padding_idx, DLTensor* dweight) {
  return guarded([&] {
    const char* op = "embedding_backward";
    const TensorView dyv = view(op, "dy", dy), iv = view(op, "indices", indices);
    const TensorView dwv = view(op, "dweight", dweight);
    const EmbeddingArgs args = embedding_args(op, iv, dwv, dyv, padding_idx);
    expect_no_overlap(op, dwv, iv);
    expect_no_overlap(op, dwv, dyv);
    if (dwv.count > 0) kernels_for(dwv.device).embedding->backward(args);
  });
}
