// Reductions: what the device's kernels are given.
#pragma once

#include "cuda/walk.h"

namespace medkern::cuda {

constexpr int kReduceThreads = 256;

// A block has 2^column_bits columns of threads, each for one result or, with vectors across, for
// some neighbors; the 2^row_bits threads of a column share the chunk's elements.
struct ReduceKernelArgs {
  Walk<3> kept;     // x, y, indices; in results
  Walk<2> reduced;  // x, flat index; in elements, or in vectors along
  const void* x;
  void* y;
  int64_t* indices;  // nullptr if not wanted
  double* values;    // [chunks][results], unless there is one chunk
  int64_t* places;   // [chunks][results]
  double* centers;   // [results], the means, for the variance
  double divisor;
  int32_t gives_centers;  // the result goes there, not to y
  int32_t sign;           // -1 for the smallest
  int32_t column_bits, row_bits;
  int32_t across;  // neighboring threads take neighboring results, not elements
  int32_t lanes;   // of vectors
  // Chunk c is piece c % pieces of group c / pieces: `piece` steps, `group` for a whole group.
  uint32_t chunks, piece, group;
  Divider pieces;
  Divider blocks;  // of columns, that hold all results
};

struct MergeKernelArgs {
  Walk<3> kept;
  void* y;
  int64_t* indices;
  const double* values;
  const int64_t* places;
  double* centers;
  double divisor;
  int32_t gives_centers, sign, column_bits;
  uint32_t chunks;
};

struct TakeKernelArgs {
  Walk<3> kept;  // x, y, indices
  const void* x;
  void* y;
  const int64_t* indices;
  int64_t elements;
  int32_t rank;  // the reduced axes from the innermost
  Divider size[kMostAxes];
  int64_t stride[kMostAxes];
};

struct PutKernelArgs {
  Walk<4> walk;  // dx, dy, indices, flat index over the reduced axes
  void* dx;
  const void* dy;
  const int64_t* indices;
};

struct InsideKernelArgs {
  Walk<1> walk;
  const void* x;
  int64_t low, high;
  uint32_t* fault;  // gets the number where a value is outside
  uint32_t number;
};

}  // namespace medkern::cuda
