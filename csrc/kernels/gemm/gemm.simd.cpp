// Matrix product on the CPU: c[m, n] = a[m, k] b[k, n].
//
// Loops: tasks of (kGemmBlockRows x kGemmBlockPanels) of c; in a task blocks of kGemmBlockK of k,
// in those tiles of rows of a, in those panels of b. b is packed into panels: all of it beforehand,
// or, where one task covers all rows, block by block in the task's own cache, and then panels come
// before tiles; a row-major b that one tile uses up is read where it lies. a is read where it lies
// if its rows are contiguous, else each task packs its own block of it.
//
// Work 2 m n k flops. Memory: a read n / (kGemmBlockPanels panels) times, b m / kGemmBlockRows
// times, mostly from caches; c read and written once per block of k. Numerics: for each
// element, chains of fma over kGemmBlockK of k, added one after the other. Sizes m and n and the
// number of threads have no part in it. After Goto and van de Geijn, "Anatomy of high-performance
// matrix multiplication" (2008), without its outermost loop.
#include "kernels/gemm/gemm.simd.h"

#include "core/parallel.h"
#include "cpu/lanes.h"
#include "kernels/gemm/pack.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {

size_t bias_backward_workspace(const BiasBackwardArgs& args);
void bias_backward(const BiasBackwardArgs& args);

namespace {

// How a product is cut into tasks.
struct Plan {
  int64_t tile_rows;        // most rows of a tile
  int64_t panel;            // columns of a panel
  int64_t row_tiles;        // tiles of rows in all
  int64_t row_blocks;       // blocks of row tiles
  int64_t tiles_each;       // row tiles per block, at most
  int64_t panels;           // panels in all
  int64_t panel_blocks;     // blocks of panels
  bool pack_a;              // by each task
  bool pack_b;              // beforehand, into the workspace
  bool rows_at_once;        // one tile holds all rows: b is used once and read where it lies
  bool wide;                // so few rows that a tile takes two panels
  size_t a_bytes, b_bytes;  // of packed a of a worker, of packed b
};

// Tasks there should be at least, and tiles and panels of a task that may not be cut for more.
constexpr int64_t kFewTasks = 8, kFewTiles = 4;
// Up to so many tiles of rows are one block; more are cut into no fewer than these.
constexpr int64_t kOneBlockTiles = 20, kFewRowBlocks = 4;
// Rows of a so many bytes apart meet in the same sets of the L1 cache.
constexpr int64_t kCacheWay = 4096;
// From so many panels of kOwnVectors on a narrower last one matters little.
constexpr int64_t kManyPanels = 4;
// So many tasks are shared out evenly enough; for that a task of two panels and more is cut.
constexpr int64_t kEvenTasks = 24;
// Panels and rows of b that a task packs, and rows that are fetched ahead.
constexpr int64_t kPackedPanels = 8, kPackedRows = 64, kPackedAhead = 4;
static_assert(kGemmBlockK % kPackedRows == 0);

// Rows of one panel of b, a row being as many elements from the next.
template <class T>
struct PanelPart {
  const T* data;
  int64_t row;
};

// Where part i of `count` cut into `parts` begins. Larger and smaller parts alternate, so that each
// thread's tasks take as long.
int64_t part_start(int64_t i, int64_t parts, int64_t count) { return i * count / parts; }

// Elements from one k to the next in a task's packed block of a.
template <class T>
int64_t packed_a_row(const Plan& p) {
  return padded_columns<T>(p.tiles_each * p.tile_rows);
}

template <class T>
Plan plan_of(const GemmArgs& g) {
  Plan p{};
  p.tile_rows = kTileRows;
  p.panel = kPanel<T>;
  p.row_tiles = tiles_in(g.m);
  p.panels = panels_in<T>(g.n);
  // With one block of rows each panel of b is packed by the task that uses it, in its own cache.
  const bool one_block = p.row_tiles <= kOneBlockTiles && (p.panels >= 4 || p.row_tiles <= 8);
  p.pack_b = !g.b_packed && !one_block;
  constexpr int64_t kOwnPanel = kOwnVectors * Vec<T>::kLanes;
  const bool meet = g.a_row * static_cast<int64_t>(sizeof(T)) % kCacheWay == 0;
  if (p.pack_b && meet && g.n >= kManyPanels * kOwnPanel) {
    p.tile_rows = kOwnRows;
    p.panel = kOwnPanel;
    p.row_tiles = tiles_in(g.m, p.tile_rows);
    p.panels = panels_in<T>(g.n, p.panel);
  }
  p.row_blocks = one_block ? 1 : larger(divide_up(g.m, kGemmBlockRows), kFewRowBlocks);
  p.pack_a = g.a_col != 1 && g.k > 1;
  if (p.pack_a && !one_block) {
    // Every block of panels packs a again: rather fewer rows than fewer panels to a task.
    const int64_t blocks = divide_up(kFewTasks, divide_up(p.panels, 2 * kGemmBlockPanels));
    p.row_blocks = larger(p.row_blocks, smaller(blocks, divide_up(p.row_tiles, kFewTiles)));
  }
  p.row_blocks = larger(smaller(p.row_blocks, p.row_tiles), 1);
  p.tiles_each = larger(divide_up(p.row_tiles, p.row_blocks), 1);
  p.rows_at_once = p.row_tiles <= 1;
  p.wide = g.m <= kWideRows;
  if (p.wide) {
    p.panel_blocks = divide_up(p.panels, 2);
  } else {
    // As many panels per task as leave enough tasks.
    const auto blocks_for = [&](int64_t tasks, int64_t panels) {
      return smaller(divide_up(tasks, p.row_blocks), divide_up(p.panels, panels));
    };
    const int64_t most = p.pack_a ? 2 * kGemmBlockPanels : kGemmBlockPanels;
    p.panel_blocks = larger(divide_up(p.panels, most), blocks_for(kFewTasks, 1));
    if (!p.pack_a) p.panel_blocks = larger(p.panel_blocks, blocks_for(kEvenTasks, 2));
  }
  const auto rounded = [](int64_t count) { return (count * sizeof(T) + 63) / 64 * 64; };
  p.a_bytes = p.pack_a ? rounded(packed_a_row<T>(p) * kGemmBlockK) : 0;
  p.b_bytes = p.pack_b ? rounded(padded_columns<T>(g.n) * g.k) : 0;
  return p;
}

// Where a panel's part of packed b begins for a block of `steps` from k on. Blocks of k come one
// after the other, so that what follows a part in memory is what is read next.
template <class T>
int64_t packed_part(int64_t n, int64_t k, int64_t steps, int64_t column) {
  return k * padded_columns<T>(n) + column * steps;
}

// Rows of b that lie as they are wanted: pieces of up to kPackedPanels panels of each, for one line
// or two of many rows that are far apart come slowly.
template <class T>
void pack_rows(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t panel, T* packed) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t piece = kPackedPanels * panel, pieces = divide_up(n, piece);
  parallel_for(pieces * divide_up(k, kPackedRows), k * n, [&](int64_t task, int) {
    const int64_t first = task % pieces * piece, last = smaller(first + piece, n);
    const int64_t begin = task / pieces * kPackedRows, end = smaller(begin + kPackedRows, k);
    const int64_t block = begin / kGemmBlockK * kGemmBlockK;
    const int64_t steps = smaller(k - block, kGemmBlockK);
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t column = first; column < last; column += panel) {
        const int64_t width = panel_width<T>(n - column, panel);
        const T* from = b + i * b_row + column;
        T* to = packed + packed_part<T>(n, block, steps, column) + (i - block) * width;
        for (int64_t j = 0; j < width; j += kLanes) {
          __builtin_prefetch(from + kPackedAhead * b_row + j);
          load_lanes(from + j, smaller(n - column - j, kLanes)).store(to + j);
        }
      }
    }
  });
}

template <class T>
void pack_b_of(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, int64_t panel,
               T* packed) {
  if (b_col == 1) return pack_rows(k, n, b, b_row, panel, packed);
  // In blocks of k as well, so that a tall b is packed by several threads.
  const int64_t blocks = larger(divide_up(k, kGemmBlockK), 1), panels = panels_in<T>(n, panel);
  parallel_for(panels * blocks, k * n, [&](int64_t task, int) {
    const int64_t first = task / blocks * panel, begin = task % blocks * kGemmBlockK;
    const int64_t steps = smaller(k - begin, kGemmBlockK);
    pack_panel(b + begin * b_row + first * b_col, b_row, b_col, steps, smaller(n - first, panel),
               packed + packed_part<T>(n, begin, steps, first));
  });
}

// Rows first .. first + rows of a for `steps` of k, as [k][row]: a^T, a block of its columns.
template <class T>
void pack_a(const GemmArgs& g, int64_t first, int64_t rows, int64_t k, int64_t steps, T* packed,
            int64_t packed_row) {
  for (int64_t s = 0; s < steps; ++s) {
    const T* from = static_cast<const T*>(g.a) + first * g.a_row + (k + s) * g.a_col;
    T* to = packed + s * packed_row;
    int64_t i = 0;
    for (; i + Vec<T>::kLanes <= rows && g.a_row == 1; i += Vec<T>::kLanes) {
      Vec<T>::load(from + i).store(to + i);
    }
    if (i < rows && g.a_row == 1) {
      Vec<T>::load(from + i, rows - i).store(to + i);
      continue;
    }
    for (; i < rows; ++i) to[i] = from[i * g.a_row];
  }
}

template <class T>
void gemm_of(const GemmArgs& g) {
  const Plan p = plan_of<T>(g);
  T* b_packed = static_cast<T*>(g.workspace);
  if (p.pack_b) {
    pack_b_of<T>(g.k, g.n, static_cast<const T*>(g.b), g.b_row, g.b_col, p.panel, b_packed);
  }
  const T* panels = p.pack_b ? b_packed : static_cast<const T*>(g.b);

  parallel_for(
      p.row_blocks * p.panel_blocks, 2 * g.m * g.n * larger(g.k, 1), [&](int64_t task, int worker) {
        alignas(64) T packed[2][kGemmBlockK * kPanel<T>];
        const int64_t row_block = task % p.row_blocks;
        const int64_t first_tile = part_start(row_block, p.row_blocks, p.row_tiles);
        const int64_t last_tile = part_start(row_block + 1, p.row_blocks, p.row_tiles);
        const int64_t panel_block = task / p.row_blocks;
        const int64_t together = p.wide ? 2 : 1, sets = divide_up(p.panels, together);
        const int64_t first_panel = together * part_start(panel_block, p.panel_blocks, sets);
        const int64_t end = together * part_start(panel_block + 1, p.panel_blocks, sets);
        const int64_t last_panel = smaller(end, p.panels);
        const int64_t blocks = larger(divide_up(g.k, kGemmBlockK), 1);
        // A tile's rows of a stay in the L1 cache for all panels, which come from the L2 cache one
        // after the other: one stream, where rows of a are many.
        const bool rows_first = (g.b_packed || p.pack_b) && !p.wide;
        for (int64_t kb = 0; kb < blocks; ++kb) {
          const int64_t k = kb * kGemmBlockK, steps = smaller(g.k - k, kGemmBlockK);
          // Where a panel's part of b is to be read; packed into `to` if it isn't yet.
          const auto panel_of_b = [&](int64_t panel, T* to) -> PanelPart<T> {
            const int64_t column = panel * p.panel, columns = smaller(g.n - column, p.panel);
            const int64_t width = padded_columns<T>(columns);
            if (g.b_packed || p.pack_b)
              return {panels + packed_part<T>(g.n, k, steps, column), width};
            const T* from = static_cast<const T*>(g.b) + k * g.b_row + column * g.b_col;
            if (p.rows_at_once && g.b_col == 1 && columns == width) return {from, g.b_row};
            pack_panel(from, g.b_row, g.b_col, steps, columns, to);
            return {to, width};
          };
          T* a_packed = reinterpret_cast<T*>(static_cast<char*>(g.workspace) + p.b_bytes +
                                             worker * p.a_bytes);
          const int64_t first_row = tile_start(first_tile, p.row_tiles, g.m);
          const int64_t a_rows = tile_start(last_tile, p.row_tiles, g.m) - first_row;
          if (p.pack_a) pack_a<T>(g, first_row, a_rows, k, steps, a_packed, packed_a_row<T>(p));
          // Tile i of the rows times `b` and the panel after it.
          const auto run = [&](int64_t i, int64_t panel, PanelPart<T> b, PanelPart<T> next) {
            const int64_t row = tile_start(i, p.row_tiles, g.m), column = panel * p.panel;
            const int64_t rows = tile_start(i + 1, p.row_tiles, g.m) - row;
            const bool last = kb == blocks - 1;
            run_tile(Tile<T>{
                .a = p.pack_a ? a_packed + row - first_row
                              : static_cast<const T*>(g.a) + row * g.a_row + k * g.a_col,
                .a_row = p.pack_a ? 1 : g.a_row,
                .a_col = p.pack_a ? packed_a_row<T>(p) : 1,
                .b = b.data,
                .b_row = b.row,
                .b_next = next.data,
                .b_next_row = next.row,
                .c = static_cast<T*>(g.c) + row * g.c_row + column,
                .c_row = g.c_row,
                .k = steps,
                .rows = rows,
                .columns = smaller(g.n - column, together * p.panel),
                .accumulate = g.accumulate || kb > 0,
                .bias =
                    last && g.bias != nullptr ? static_cast<const T*>(g.bias) + column : nullptr,
                .relu = last && g.activation == Activation::relu,
            });
          };
          if (rows_first) {
            for (int64_t i = first_tile; i < last_tile; ++i) {
              for (int64_t panel = first_panel; panel < last_panel; ++panel) {
                const PanelPart<T> b = panel_of_b(panel, nullptr);
                run(i, panel, b, {b.data + kPanel<T>, b.row});
              }
            }
            continue;
          }
          for (int64_t panel = first_panel; panel < last_panel; panel += together) {
            const PanelPart<T> b = panel_of_b(panel, packed[0]);
            PanelPart<T> next{};
            if (together == 2 && g.n > (panel + 1) * p.panel) {
              next = panel_of_b(panel + 1, packed[1]);
            }
            for (int64_t i = first_tile; i < last_tile; ++i) run(i, panel, b, next);
          }
        }
      });
}

template <class T>
size_t workspace_of(const GemmArgs& g) {
  const Plan p = plan_of<T>(g);
  return max_workers() * p.a_bytes + p.b_bytes;
}

}  // namespace

size_t gemm_workspace(const GemmArgs& g) {
  return g.dtype == Dtype::f32 ? workspace_of<float>(g) : workspace_of<double>(g);
}

void gemm(const GemmArgs& given) {
  if (given.m == 0 || given.n == 0) return;
  const int64_t size = static_cast<int64_t>(size_of(given.dtype));
  GemmArgs g = given;
  for (int64_t i = 0; i < given.items; ++i) {
    g.a = static_cast<const char*>(given.a) + i * given.a_item * size;
    g.b = static_cast<const char*>(given.b) + i * given.b_item * size;
    g.c = static_cast<char*>(given.c) + i * given.c_item * size;
    g.dtype == Dtype::f32 ? gemm_of<float>(g) : gemm_of<double>(g);
  }
}

size_t packed_b_bytes(Dtype dtype, int64_t k, int64_t n) {
  return dtype == Dtype::f32 ? padded_columns<float>(n) * k * sizeof(float)
                             : padded_columns<double>(n) * k * sizeof(double);
}

void pack_b(Dtype dtype, int64_t k, int64_t n, const void* b, int64_t b_row, int64_t b_col,
            void* packed) {
  if (dtype == Dtype::f32) {
    pack_b_of(k, n, static_cast<const float*>(b), b_row, b_col, kPanel<float>,
              static_cast<float*>(packed));
  } else {
    pack_b_of(k, n, static_cast<const double*>(b), b_row, b_col, kPanel<double>,
              static_cast<double*>(packed));
  }
}

extern const GemmKernels gemm_kernels;
constinit const GemmKernels gemm_kernels = {
    .workspace = gemm_workspace,
    .run = gemm,
    .packed_b_bytes = packed_b_bytes,
    .pack_b = pack_b,
    .bias_backward_workspace = bias_backward_workspace,
    .bias_backward = bias_backward,
};

}  // namespace medkern::MK_ISA
