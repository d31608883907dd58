// CUDA kernels of reductions: what the checked arguments come to on the device.
#include "kernels/reduce/reduce.h"

#include "cuda/fault.h"
#include "cuda/launch.h"
#include "kernels/loops.cuda.h"
#include "kernels/reduce/reduce.cuda.h"

namespace medkern::cuda {
namespace {

// For float32 and float64.
Kernel totals[2] = {{"reduce", "reduce_total_f32"}, {"reduce", "reduce_total_f64"}};
Kernel spreads[2] = {{"reduce", "reduce_spread_f32"}, {"reduce", "reduce_spread_f64"}};
Kernel extremes[2] = {{"reduce", "reduce_extreme_f32"}, {"reduce", "reduce_extreme_f64"}};
Kernel merged_totals[2] = {{"reduce", "reduce_merge_totals_f32"},
                           {"reduce", "reduce_merge_totals_f64"}};
Kernel merged_extremes[2] = {{"reduce", "reduce_merge_extremes_f32"},
                             {"reduce", "reduce_merge_extremes_f64"}};
Kernel takes[2] = {{"reduce_pick", "reduce_take_f32"}, {"reduce_pick", "reduce_take_f64"}};
Kernel puts[2] = {{"reduce_pick", "reduce_put_f32"}, {"reduce_pick", "reduce_put_f64"}};
Kernel inside_u8{"reduce_pick", "reduce_inside_u8"}, inside_i32{"reduce_pick", "reduce_inside_i32"},
    inside_i64{"reduce_pick", "reduce_inside_i64"};

constexpr int kThreadBits = 8;
static_assert(1 << kThreadBits == kReduceThreads);
constexpr int64_t kAcross = 128;  // results of a block that lie side by side
constexpr int64_t kThreadSteps = 4;

int bits_for(int64_t count, int most) {
  int bits = 0;
  while (bits < most && (int64_t{1} << bits) < count) ++bits;
  return bits;
}

// About 512 blocks, of 4096 to 32768 elements; one chunk where there are as many results anyway.
int64_t chunk_elements(bool side_by_side, int64_t outputs, int64_t elements) {
  constexpr int64_t kBlocks = 512, kLeast = 4096, kMost = 32768;
  const int64_t width = side_by_side ? int64_t{1} << bits_for(outputs, bits_for(kAcross, 16)) : 1;
  int64_t block = kLeast;
  while (block < kMost && block * kBlocks < outputs * elements) block *= 2;
  const int64_t chunk = block / width;
  const bool one = elements <= 2 * chunk || outputs / width >= kBlocks;
  return one && elements > 0 ? elements : chunk;
}

bool is_extreme(const ReduceArgs& a) { return a.op == MK_MAX || a.op == MK_MIN; }

// Whether the kept axes, or the reduced ones, can be read in vectors of `lanes` along the
// innermost.
bool in_vectors(const ReduceArgs& a, bool across, int lanes) {
  const Loops &along = across ? a.kept : a.reduced, &other = across ? a.reduced : a.kept;
  const Operand x[] = {{a.x, 16u / lanes}};
  if (!takes_vectors(along, x, lanes)) return false;
  // A tail is read by single elements, from the end of x: it has no other axes then.
  if (across && along.size[along.rank - 1] % lanes != 0) return false;
  for (int i = 0; i < other.rank; ++i) {
    if (other.size[i] > 1 && other.stride[0][i] % lanes != 0) return false;
  }
  return true;
}

double divisor_of(const ReduceArgs& a, mk_reduce_op op) {
  const double left = a.elements - a.correction;
  return op == MK_MEAN ? static_cast<double>(a.elements) : op == MK_VAR ? (left > 0 ? left : 0) : 1;
}

// Reduces x by `kernel`, and the chunks by `merge`. The means of the variance go to `centers`.
void run(const ReduceArgs& a, mk_reduce_op op, bool gives_centers, Kernel& kernel, Kernel& merge) {
  const Chunks& c = a.chunks;
  ReduceKernelArgs p{};
  p.kept = walk_in_steps<3>(a.kept, 1);
  p.x = a.x;
  p.y = a.y;
  p.indices = a.indices;
  p.values = a.values;
  p.places = is_extreme(a) ? a.places : nullptr;
  p.centers = a.op == MK_VAR ? a.centers : nullptr;
  p.divisor = divisor_of(a, op);
  p.gives_centers = gives_centers;
  p.sign = a.op == MK_MIN ? -1 : 1;
  p.chunks = static_cast<uint32_t>(c.count);
  if (c.count > 0) {
    const int inner = a.kept.rank - 1;
    p.across = a.kept.stride[0][inner] == 1 && a.kept.size[inner] > 1;
    const int lanes = vector_lanes(size_of(a.dtype));
    p.lanes = in_vectors(a, p.across, lanes) ? lanes : 1;
    const int along = p.across ? 1 : p.lanes;
    p.reduced = walk_in_steps<2>(a.reduced, along);
    const bool rows = c.pieces == 1;  // a chunk is some whole rows
    p.group = static_cast<uint32_t>((rows ? c.rows_per_chunk * c.length : c.length) / along);
    p.piece = rows ? p.group : static_cast<uint32_t>(c.elements / along);
    p.pieces = divider(static_cast<uint32_t>(c.pieces));

    const int64_t steps = c.pieces == 1 ? p.group : p.piece;
    const int64_t shared_out = divide_up(steps, kThreadSteps);
    if (p.across) {
      const int64_t width = p.lanes;
      p.column_bits = bits_for(divide_up(a.outputs, width), bits_for(kAcross / width, 16));
      p.row_bits = bits_for(shared_out, kThreadBits - p.column_bits);
    } else {
      p.row_bits = bits_for(shared_out, kThreadBits);
    }
    p.column_bits = kThreadBits - p.row_bits;
    const int64_t each = (int64_t{1} << p.column_bits) * (p.across ? p.lanes : 1);
    const int64_t blocks = divide_up(a.outputs, each);
    p.blocks = divider(static_cast<uint32_t>(blocks));
    require(blocks * c.count <= kMostSteps, "reduce: x is too large for a CUDA kernel");
    const size_t item = is_extreme(a) || op == MK_VAR ? 16 : 8;
    const size_t shared = kReduceThreads * item * (p.across ? p.lanes : 1);
    launch(kernel, {static_cast<uint32_t>(blocks * c.count)}, kReduceThreads, shared, p);
  }
  if (c.count == 1) return;
  MergeKernelArgs m{};
  m.kept = p.kept;
  m.y = p.y;
  m.indices = p.indices;
  m.values = p.values;
  m.places = p.places;
  m.centers = p.centers;
  m.divisor = p.divisor;
  m.gives_centers = p.gives_centers;
  m.sign = p.sign;
  m.chunks = p.chunks;
  // Few results: as many threads as there are chunks for each.
  m.column_bits = kThreadBits - bits_for(divide_up(c.count, kThreadSteps), kThreadBits);
  const int64_t blocks = ((a.outputs - 1) >> m.column_bits) + 1;
  launch(merge, {static_cast<uint32_t>(blocks)}, kReduceThreads, kReduceThreads * size_t{16}, m);
}

void reduce(const ReduceArgs& a) {
  const bool wide = a.dtype == Dtype::f64;
  switch (a.op) {
    case MK_SUM:
    case MK_MEAN:
      return run(a, a.op, false, totals[wide], merged_totals[wide]);
    case MK_VAR:
      if (a.chunks.count > 0) run(a, MK_MEAN, true, totals[wide], merged_totals[wide]);
      return run(a, MK_VAR, false, spreads[wide], merged_totals[wide]);
    case MK_MAX:
    case MK_MIN:
      return run(a, a.op, false, extremes[wide], merged_extremes[wide]);
  }
}

void take(const PickArgs& a) {
  TakeKernelArgs p{};
  p.kept = walk_in_steps<3>(a.kept, 1);
  p.x = a.full;
  p.y = a.small;
  p.indices = a.indices;
  p.elements = a.elements;
  require(a.elements <= kMostSteps, "reduce_take: CUDA kernels take up to 2^31 - 1 elements");
  p.rank = a.rank;
  for (int i = 0; i < a.rank; ++i) {
    const int from = a.rank - 1 - i;
    p.size[i] = divider(static_cast<uint32_t>(a.size[from]));
    p.stride[i] = a.stride[from];
  }
  launch(takes[a.dtype == Dtype::f64], {walk_blocks(p.kept)}, kWalkThreads, 0, p);
}

// The kept and the reduced axes in one, in the order of dx.
Loops all_axes(const PickArgs& a) {
  Loops all{};
  const auto add = [&](int64_t size, int64_t full, int64_t small, int64_t index, int64_t flat) {
    if (size == 1) return;
    int i = all.rank++;
    for (; i > 0 && all.stride[0][i - 1] < full; --i) {
      all.size[i] = all.size[i - 1];
      for (auto& stride : all.stride) stride[i] = stride[i - 1];
    }
    all.size[i] = size;
    all.stride[0][i] = full;
    all.stride[1][i] = small;
    all.stride[2][i] = index;
    all.stride[3][i] = flat;
  };
  for (int i = 0; i < a.kept.rank; ++i) {
    add(a.kept.size[i], a.kept.stride[0][i], a.kept.stride[1][i], a.kept.stride[2][i], 0);
  }
  for (int i = 0; i < a.reduced.rank; ++i) {
    add(a.reduced.size[i], a.reduced.stride[0][i], 0, 0, a.reduced.stride[1][i]);
  }
  if (all.rank == 0) all.size[all.rank++] = 1;
  return all;
}

void put(const PickArgs& a) {
  PutKernelArgs p{};
  p.walk = walk_in_steps<4>(all_axes(a), 1);
  p.dx = a.full;
  p.dy = a.small;
  p.indices = a.indices;
  launch(puts[a.dtype == Dtype::f64], {walk_blocks(p.walk)}, kWalkThreads, 0, p);
}

bool inside(const char* op, const TensorView& x, int64_t low, int64_t high) {
  InsideKernelArgs p{};
  p.walk = walk_in_steps<1>(loops_over({&x}), 1);
  p.x = x.data;
  p.low = low;
  p.high = high;
  p.fault = fault_word();
  p.number = fault_number(op, x.name, low, high);
  Kernel& kernel = x.dtype == Dtype::u8    ? inside_u8
                   : x.dtype == Dtype::i32 ? inside_i32
                                           : inside_i64;
  launch(kernel, {walk_blocks(p.walk)}, kWalkThreads, 0, p);
  return true;
}

}  // namespace

extern const ReduceKernels reduce_kernels;
constinit const ReduceKernels reduce_kernels = {
    .chunk_elements = chunk_elements,
    .reduce = reduce,
    .take = take,
    .put = put,
    .inside = inside,
};

}  // namespace medkern::cuda
