// Reductions: what the kernels are given once every argument has been checked.
#pragma once

#include "core/dtype.h"
#include "kernels/loops.h"
#include "medkern/reduce.h"

namespace medkern {

// The elements reduced to one result, seen as rows of `length`, are cut into chunks: each of
// `rows_per_chunk` whole rows, or, where rows are long, of one of the `pieces` of a row, each of
// about `elements`. A chunk's partial result is a float64; the cut depends on the shape alone.
struct Chunks {
  int64_t elements, rows, length, rows_per_chunk, pieces, count;
};

struct ReduceArgs {
  mk_reduce_op op;
  Dtype dtype;
  double correction;
  Loops kept;        // x, y, indices: the axes of the result
  Loops reduced;     // x, and the flat index over the reduced axes
  int64_t outputs;   // elements of y
  int64_t elements;  // reduced to each of them
  Chunks chunks;
  const void* x;
  void* y;
  int64_t* indices;  // nullptr if not wanted
  double* values;    // [chunks.count][outputs], partial results
  int64_t* places;   // [chunks.count][outputs], the indices of partial extremes
  double* centers;   // [outputs], the means, for the variance
};

struct PickArgs {
  Dtype dtype;
  Loops kept;     // full (x or dx), small (y or dy), indices
  Loops reduced;  // full, and the flat index over the reduced axes
  int64_t outputs;
  int64_t elements;
  int rank;  // the reduced axes in their order in the full tensor
  int64_t size[MK_MAX_RANK], stride[MK_MAX_RANK];
  void* full;
  void* small;
  const int64_t* indices;
};

struct ReduceKernels {
  // Of Chunks, for results that lie side by side in x or don't.
  int64_t (*chunk_elements)(bool side_by_side, int64_t outputs, int64_t elements);
  void (*reduce)(const ReduceArgs&);
  void (*take)(const PickArgs&);
  void (*put)(const PickArgs&);
  // Whether every element of an integer tensor is within [low, high], as far as that is known when
  // it returns: on a CUDA device the check is queued, and a fault reported by synchronization.
  bool (*inside)(const char* op, const TensorView& x, int64_t low, int64_t high);
};

}  // namespace medkern
