// Pooling: what the kernels are given once every argument has been checked.
#pragma once

#include "core/dtype.h"
#include "kernels/image.h"
#include "medkern/pool.h"

namespace medkern {

// Where the windows lie. Sliding windows stand `stride` apart; adaptive ones divide x evenly:
// output o takes floor(o size / count) .. ceil((o + 1) size / count) - 1, and only `window.kernel`,
// the largest extent, is used.
struct PoolWindows {
  Window window;
  bool adaptive;
};

struct MaxPoolArgs {
  Dtype dtype;        // of x and y (or dx and dy)
  Dtype index_dtype;  // i64 (flat spatial offset in x) or u8 (number among the window's positions)
  PoolWindows windows;
  Image x;        // dx in the backward pass
  Image y;        // dy in the backward pass
  Image indices;  // data is nullptr if not wanted
};

struct AveragePoolArgs {
  Dtype dtype;
  bool count_include_pad;
  PoolWindows windows;
  Image x;  // dx in the backward pass
  Image y;  // dy in the backward pass
};

// One value per index: small[at] and large[indices[at]], within each (n, c).
struct ScatterArgs {
  Dtype dtype;
  Image large, small;
  Image indices;  // i64, flat spatial offsets in `large`; -1 for none
};

struct PoolKernels {
  void (*max_forward)(const MaxPoolArgs&);
  void (*max_backward)(const MaxPoolArgs&);  // u8 indices
  void (*average_forward)(const AveragePoolArgs&);
  void (*average_backward)(const AveragePoolArgs&);
  void (*scatter_add)(const ScatterArgs&);  // large = 0, then large[indices] += small
  void (*scatter)(const ScatterArgs&);      // large = 0, then large[indices] = small, the last wins
  void (*gather)(const ScatterArgs&);       // small = large[indices]
  // Where windows stand side by side: whether all indices, of any value, are -1 or lie in the tile
  // of their element (see tiles.simd.cpp). Then spread gives what scatter does, collect what gather
  // does.
  bool (*in_tiles)(const ScatterArgs&);
  void (*spread)(const ScatterArgs&);
  void (*collect)(const ScatterArgs&);
};

// Checks a descriptor and gives its window in 3-D. `dilated` says whether dilation may exceed 1.
Window pool_window(const char* op, const mk_pool_desc* desc, bool dilated);

}  // namespace medkern
