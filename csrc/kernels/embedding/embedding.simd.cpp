// Embedding on the CPU, forward and backward.
//
//   y[i, :] = weight[indices[i], :]
//   dweight[v, :] = sum of dy[i, :] over i with indices[i] = v
//
// Forward:  one task per block of indices; each copies whole rows.
// Backward: one task per block of columns, which walks the indices in order, so that no two tasks
//           write the same element and every sum has one order.
// Memory  y (or dy) and the rows chosen, once each. Exact but for the sums, which are plain in T.
#include "kernels/embedding/embedding.h"

#include "core/parallel.h"
#include "cpu/vec.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kRowBlock = 64;     // indices of a forward task
constexpr int64_t kColumnBlock = 64;  // columns of a backward task: whole cache lines

MK_INLINE int64_t index_at(const EmbeddingArgs& a, int64_t i) {
  return a.index_dtype == Dtype::i32 ? static_cast<const int32_t*>(a.indices)[i]
                                     : static_cast<const int64_t*>(a.indices)[i];
}

template <class T>
void forward_of(const EmbeddingArgs& a) {
  using V = Vec<T>;
  parallel_for((a.count + kRowBlock - 1) / kRowBlock, a.count * a.size, [&](int64_t task, int) {
    const int64_t first = task * kRowBlock;
    const int64_t last = first + kRowBlock < a.count ? first + kRowBlock : a.count;
    for (int64_t i = first; i < last; ++i) {
      const T* row = static_cast<const T*>(a.weight) + index_at(a, i) * a.size;
      T* y = static_cast<T*>(a.y) + i * a.size;
      int64_t d = 0;
      for (; d + V::kLanes <= a.size; d += V::kLanes) V::load(row + d).store(y + d);
      if (d < a.size) V::load(row + d, a.size - d).store(y + d, a.size - d);
    }
  });
}

// `columns` columns, of which dweight and dy are the first.
template <class T>
MK_INLINE void add_rows(const EmbeddingArgs& a, T* dweight, const T* dy, int64_t columns) {
  using V = Vec<T>;
  for (int64_t v = 0; v < a.rows; ++v) {
    for (int64_t d = 0; d < columns; ++d) dweight[v * a.size + d] = 0;
  }
  for (int64_t i = 0; i < a.count; ++i) {
    const int64_t index = index_at(a, i);
    if (index == a.padding_idx) continue;
    T* to = dweight + index * a.size;
    const T* from = dy + i * a.size;
    int64_t d = 0;
    for (; d + V::kLanes <= columns; d += V::kLanes) {
      (V::load(to + d) + V::load(from + d)).store(to + d);
    }
    if (d < columns) {
      (V::load(to + d, columns - d) + V::load(from + d, columns - d)).store(to + d, columns - d);
    }
  }
}

template <class T>
void backward_of(const EmbeddingArgs& a) {
  const int64_t blocks = (a.size + kColumnBlock - 1) / kColumnBlock;
  parallel_for(blocks, (a.count + a.rows) * a.size, [&](int64_t task, int) {
    const int64_t first = task * kColumnBlock;
    const int64_t columns = a.size - first < kColumnBlock ? a.size - first : kColumnBlock;
    add_rows(a, static_cast<T*>(a.weight) + first, static_cast<const T*>(a.y) + first, columns);
  });
}

void forward(const EmbeddingArgs& a) {
  a.dtype == Dtype::f32 ? forward_of<float>(a) : forward_of<double>(a);
}

void backward(const EmbeddingArgs& a) {
  a.dtype == Dtype::f32 ? backward_of<float>(a) : backward_of<double>(a);
}

}  // namespace

extern const EmbeddingKernels embedding_kernels;
constinit const EmbeddingKernels embedding_kernels = {
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::MK_ISA
