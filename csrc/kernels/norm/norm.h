// Normalization: what the kernels are given once every argument has been checked.
#pragma once

#include "core/dtype.h"
#include "core/tensor.h"

namespace medkern {

// Contiguous numbers, or, on the CPU, rows of columns, that are summed at once.
constexpr int64_t kNormRunChunk = 4096;
constexpr int64_t kNormColumnChunk = 128;

// How sums over x are cut: `units` independent runs of `length` items, an item being `width`
// numbers side by side, each summed on its own. A run is cut into `chunks` of `chunk` items, the
// last one perhaps shorter. A chunk's two results per column lie at [unit][chunk][which][column].
struct NormCut {
  int64_t units, length, width, chunk, chunks;
};

// x as n samples, c channels and s positions. Statistics are shared by `groups` groups of adjacent
// channels, within a sample or, over_batch, of all samples (then groups is c).
struct NormShape {
  Dtype dtype;
  bool channels_last;  // memory is (n, s, c), else (n, c, s)
  bool over_batch;
  int64_t n, c, s, groups;
};

// Parameters and running statistics beside bfloat16 are float32.
struct NormForwardArgs {
  NormShape shape;
  NormCut moments;  // width c, or 1 and a unit per run of memory that shares its statistics
  bool training;    // false: mean and variance are running_mean and running_var
  bool relu;        // y is max(y, 0)
  double eps, momentum;
  const void *x, *weight, *bias;
  void *y, *running_mean, *running_var;
  double *mean, *rstd;  // [c] over_batch, else [n, groups]
  double* partials;     // as NormCut says
  double* coefficients;
  const double* given;  // the moments of x (kernels/moments.h) if they are known, or nullptr
};

struct NormBackwardArgs {
  NormShape shape;
  NormCut sums;   // width c, or 1 and a unit per sample and channel
  bool training;  // false: mean and rstd are constants
  bool relu;      // dy counts where y > 0
  const void *dy, *x, *weight, *bias;
  const double *mean, *rstd;
  void *dx, *dweight, *dbias;
  double* partials;
  double* coefficients;
};

struct NormKernels {
  bool takes_moments;  // that are given, of channels-last memory
  // Rows of a chunk (see NormCut) of `length` rows of that many channels.
  int64_t (*rows_of_chunk)(Dtype dtype, int64_t length, int64_t channels);
  void (*forward)(const NormForwardArgs&);
  void (*backward)(const NormBackwardArgs&);
};

// Rows of `width` elements, each normalized by its own statistics; weight and bias run along a row.
struct LayerNormArgs {
  Dtype dtype;
  int64_t rows, width;
  double eps;
  const void *x, *weight, *bias;
  void* y;
  double *mean, *rstd;
  // Of the backward pass, which reads mean and rstd.
  const void* dy;
  void *dx, *dweight, *dbias;
  double* partials;  // as many as LayerNormKernels says
};

struct LayerNormKernels {
  // Numbers of scratch memory that the backward pass needs.
  int64_t (*partials)(int64_t rows, int64_t width);
  void (*forward)(const LayerNormArgs&);
  void (*backward)(const LayerNormArgs&);
};

}  // namespace medkern
