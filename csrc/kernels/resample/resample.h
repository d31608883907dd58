// Reading images at any places: what the kernels are given once every argument has been checked.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace medkern {

// A dense image; of rank 4 it has depth 1. Element (n, c, p) of the pixels p = (d H + h) W + w lies
// at n stride_n + c stride_c + p step.
struct PixelImage {
  void* data;
  int64_t n, c, size[3];
  int64_t pixels;  // size[0] size[1] size[2]
  int64_t stride_n, stride_c, step;
};

enum class ResamplePadding { constant, border, reflection, wrap };

struct ResampleArgs {
  Dtype dtype;
  int rank;                 // 2 or 3
  bool linear;              // else nearest
  bool ties_up;             // halves go up, else to the even element; nearest only
  bool mirrors_at_centers;  // of the edge elements, else at their outer edges
  ResamplePadding padding;
  double value;
  PixelImage x;  // dx in the backward pass for x
  PixelImage y;  // dy in the backward passes

  // Places given by a grid: place = coordinate * scale + shift along each axis.
  const void* grid;  // [N, pixels of y, rank], or nullptr
  void* dgrid;
  double scale[3], shift[3];

  // Places given by an affine map and control points.
  const double* matrix;      // [N, rank, rank + 1]
  const void* displacement;  // [N, rank, control], or nullptr
  int64_t control[3];        // 1 for a missing axis
  bool cubic;

  void* workspace;
};

constexpr int64_t kMostControls = 256;  // control points along an axis

struct ResampleKernels {
  size_t (*forward_workspace)(const ResampleArgs&);
  size_t (*backward_input_workspace)(const ResampleArgs&);
  size_t (*backward_grid_workspace)(const ResampleArgs&);
  void (*forward)(const ResampleArgs&);
  void (*backward_input)(const ResampleArgs&);
  void (*backward_grid)(const ResampleArgs&);
};

}  // namespace medkern
