// CUDA kernels of recurrent layers: which tile, how many blocks, one launch or one for every step,
// and the products that are left to GEMMs.
//
// Packed weights are a note of where the weights lie on the device: they are used as they come, and
// have to outlive it.
#include "kernels/recurrent/recurrent.cuda.h"

#include <algorithm>

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/devices.h"
#include "cuda/launch.h"
#include "kernels/recurrent/recurrent.h"
#include "kernels/table.h"

namespace medkern::cuda {
namespace {

struct LoopKernel {
  RecurrentTile tile;
  Kernel kernel;
};

// Without resident weights first: they serve every size.
LoopKernel forward_f32[] = {
    {{1, 32, false}, {"recurrent", "recurrent_forward_f32_step_1"}},
    {{4, 32, false}, {"recurrent", "recurrent_forward_f32_step_4"}},
    {{16, 32, false}, {"recurrent", "recurrent_forward_f32_step_16"}},
    {{64, 32, false}, {"recurrent", "recurrent_forward_f32_step_64"}},
    {{1, 32, true}, {"recurrent", "recurrent_forward_f32_resident_1"}},
    {{4, 32, true}, {"recurrent", "recurrent_forward_f32_resident_4"}},
    {{8, 32, true}, {"recurrent", "recurrent_forward_f32_resident_8"}},
    {{16, 32, true}, {"recurrent", "recurrent_forward_f32_resident_16"}},
    {{32, 32, true}, {"recurrent", "recurrent_forward_f32_resident_32"}},
    {{64, 32, true}, {"recurrent", "recurrent_forward_f32_resident_64"}},
};
LoopKernel forward_f64[] = {
    {{4, 32, false}, {"recurrent", "recurrent_forward_f64_step_4"}},
    {{16, 32, false}, {"recurrent", "recurrent_forward_f64_step_16"}},
};
LoopKernel backward_f32[] = {
    {{4, 32, false}, {"recurrent_backward", "recurrent_backward_f32_step_4x32"}},
    {{16, 32, false}, {"recurrent_backward", "recurrent_backward_f32_step_16x32"}},
    {{64, 32, false}, {"recurrent_backward", "recurrent_backward_f32_step_64x32"}},
    {{8, 8, true}, {"recurrent_backward", "recurrent_backward_f32_resident_8x8"}},
    {{32, 8, true}, {"recurrent_backward", "recurrent_backward_f32_resident_32x8"}},
    {{8, 16, true}, {"recurrent_backward", "recurrent_backward_f32_resident_8x16"}},
    {{32, 16, true}, {"recurrent_backward", "recurrent_backward_f32_resident_32x16"}},
    {{8, 32, true}, {"recurrent_backward", "recurrent_backward_f32_resident_8x32"}},
    {{32, 32, true}, {"recurrent_backward", "recurrent_backward_f32_resident_32x32"}},
};
LoopKernel backward_f64[] = {
    {{4, 32, false}, {"recurrent_backward", "recurrent_backward_f64_step_4x32"}},
    {{16, 32, false}, {"recurrent_backward", "recurrent_backward_f64_step_16x32"}},
};
Kernel transpose_f32{"recurrent_backward", "recurrent_transpose_f32"};
Kernel transpose_f64{"recurrent_backward", "recurrent_transpose_f64"};
Kernel gather_f32{"recurrent_backward", "recurrent_gather_f32"};
Kernel gather_f64{"recurrent_backward", "recurrent_gather_f64"};

uint32_t narrow(int64_t value) { return static_cast<uint32_t>(value); }

// Elements of a row of scratch memory: whole 16-byte vectors.
int64_t scratch_row(const RecurrentArgs& a, int64_t columns) {
  const auto vector = static_cast<int64_t>(16 / size_of(a.dtype));
  return divide_up(columns, vector) * vector;
}

bool is_vectors(const RecurrentArgs& a, int64_t columns, std::initializer_list<const void*> rows) {
  return columns == scratch_row(a, columns) && are_aligned(rows);
}

// Workspace, measured (base is nullptr) or handed out in pieces of 256 bytes.
struct Arena {
  char* base;
  size_t used = 0;

  char* take(size_t bytes) {
    char* piece = base != nullptr ? base + used : nullptr;
    used += (bytes + 255) / 256 * 256;
    return piece;
  }
};

// What the loop of one pass over a layer comes to.
struct LoopSizes {
  RecurrentCell cell;
  int directions;
  int64_t iterations, k;  // of the product of an iteration
  bool forward;

  // Hidden units of a block.
  int units(const RecurrentTile& tile) const {
    return forward ? tile.columns / gates_of(cell) : tile.columns;
  }
  int slots() const { return forward ? gates_of(cell) : backward_slots_of(cell); }
};

size_t shared_bytes(const RecurrentArgs& a, const LoopSizes& sizes, const RecurrentTile& tile) {
  const int k = static_cast<int>(sizes.k), units = sizes.units(tile), slots = sizes.slots();
  return a.dtype == Dtype::f32 ? tile.bytes<float>(k, units, slots)
                               : tile.bytes<double>(k, units, slots);
}

struct LoopPlan {
  LoopKernel* kernel = nullptr;
  int64_t unit_groups = 0, sample_groups = 0;
  int64_t tasks_together = 0;  // in a launch
};

// About how many clocks what blocks do for each other takes, beside the sums.
constexpr double kBarrier = 2500, kLaunch = 6000;

// Chosen by an estimate of clocks; changes no bit.
template <size_t kCount>
LoopPlan plan_loop(const RecurrentArgs& a, const LoopSizes& sizes, LoopKernel (&kernels)[kCount]) {
  const int64_t processors = multiprocessors();
  const auto most_bytes = static_cast<size_t>(most_shared_bytes());
  LoopPlan best;
  double least = 0;
  for (LoopKernel& one : kernels) {
    const RecurrentTile& tile = one.tile;
    // A single step has nothing to keep; it also sums what comes from x.
    if (tile.resident && sizes.iterations < 2) continue;
    if (shared_bytes(a, sizes, tile) > most_bytes) continue;
    const int64_t unit_groups = divide_up(a.hidden, sizes.units(tile));
    const int64_t sample_groups = divide_up(a.batch, tile.rows);
    const int64_t tasks = sizes.directions * sample_groups;
    const int64_t together = tile.resident ? std::min(processors / unit_groups, tasks) : tasks;
    if (together == 0 && tasks > 0) continue;
    const double k = static_cast<double>(sizes.k), columns = tile.columns;
    const double sums = k * (0.75 + tile.rows * columns / 100), weights = k * columns / 16;
    double cost;
    if (tile.resident) {
      const double launches = static_cast<double>(divide_up(tasks, std::max<int64_t>(together, 1)));
      cost = launches * (kLaunch + weights + sizes.iterations * (kBarrier + sums));
    } else {
      const double shared = static_cast<double>(divide_up(tasks * unit_groups, processors));
      cost = sizes.iterations * (kLaunch + shared * (sums + weights / 2));
    }
    if (best.kernel == nullptr || cost < least) {
      best = {&one, unit_groups, sample_groups, together};
      least = cost;
    }
  }
  return best;
}

void expect_sizes(const RecurrentArgs& a, RecurrentCell cell) {
  constexpr int64_t kMost = 1 << 28;
  for (const int64_t size : {a.batch, a.steps, a.input, a.hidden * gates_of(cell)}) {
    require(size < kMost, "recurrent layer: CUDA kernels take sizes below 2^28, got ", size);
  }
  require(a.batch * a.steps <= INT32_MAX,
          "recurrent layer: CUDA kernels take fewer than 2^31 steps of all samples, got ",
          a.batch * a.steps);
}

RecurrentLoop loop_of(const RecurrentArgs& a, const LoopSizes& sizes, const LoopPlan& plan,
                      void* arrived) {
  RecurrentLoop loop{};
  loop.cell = sizes.cell;
  loop.batch = static_cast<int32_t>(a.batch);
  loop.steps = static_cast<int32_t>(a.steps);
  loop.hidden = static_cast<int32_t>(a.hidden);
  loop.row_n = a.row_n;
  loop.row_t = a.row_t;
  loop.lengths = a.lengths;
  loop.unit_groups = divider(narrow(plan.unit_groups));
  loop.sample_groups = divider(narrow(std::max<int64_t>(plan.sample_groups, 1)));
  loop.units = divider(narrow(sizes.units(plan.kernel->tile)));
  loop.arrived = static_cast<uint32_t*>(arrived);
  return loop;
}

// Starts the iterations of a loop; `args.loop` is what loop_of gave.
template <class Args>
void run_loop(const RecurrentArgs& a, const LoopSizes& sizes, const LoopPlan& plan, Args args) {
  const RecurrentTile& tile = plan.kernel->tile;
  Kernel& kernel = plan.kernel->kernel;
  const size_t bytes = shared_bytes(a, sizes, tile);
  const int64_t tasks = sizes.directions * plan.sample_groups;
  if (tile.resident) {
    fill_zero(args.loop.arrived, tasks * sizeof(uint32_t));
    args.loop.last = static_cast<int32_t>(sizes.iterations);
    for (int64_t first = 0; first < tasks; first += plan.tasks_together) {
      args.loop.first_task = narrow(first);
      const int64_t together = std::min(plan.tasks_together, tasks - first);
      launch_cooperative(kernel, {narrow(together * plan.unit_groups)}, kRecurrentThreads, bytes,
                         args);
    }
    return;
  }
  const Grid grid{narrow(tasks * plan.unit_groups)};
  // With no iteration at all the first states are the last.
  for (int64_t i = 0; i < std::max<int64_t>(sizes.iterations, 1); ++i) {
    args.loop.first = static_cast<int32_t>(i);
    args.loop.last = static_cast<int32_t>(std::min(i + 1, sizes.iterations));
    launch(kernel, grid, kRecurrentThreads, bytes, args);
  }
}

// ---------------------------------------------------------------- forward

struct PackedLayer {
  const void *weight_ih, *weight_hh, *bias_ih, *bias_hh;
};

size_t packed_bytes(const RecurrentArgs&) { return sizeof(PackedLayer); }

void pack(const RecurrentArgs& a, void* packed) {
  *static_cast<PackedLayer*>(packed) = {a.weight_ih, a.weight_hh, a.bias_ih, a.bias_hh};
}

PackedLayer weights_of(const RecurrentArgs& a) {
  if (a.packed != nullptr) return *static_cast<const PackedLayer*>(a.packed);
  return {a.weight_ih, a.weight_hh, a.bias_ih, a.bias_hh};
}

// c = a b, where the rows of a, of k contiguous columns, are those of x.
GemmArgs rows_product(const RecurrentArgs& a, int64_t n, int64_t k) {
  GemmArgs g{};
  g.dtype = a.dtype;
  g.m = a.batch * a.steps;
  g.n = n;
  g.k = k;
  g.a_row = k;
  g.a_col = 1;
  g.c_row = n;
  return g;
}

// x weight_ih^T + bias_ih of all steps.
GemmArgs inputs_product(const RecurrentArgs& a, RecurrentCell cell) {
  GemmArgs g = rows_product(a, gates_of(cell) * a.hidden, a.input);
  g.b_row = 1;
  g.b_col = a.input;
  return g;
}

struct ForwardBuffers {
  void *inputs[2], *state[2], *arrived, *gemm;
};

ForwardBuffers forward_buffers(const RecurrentArgs& a, RecurrentCell cell, int directions,
                               Arena& arena) {
  const size_t item = size_of(a.dtype);
  ForwardBuffers b{};
  if (a.steps < 2) return b;
  for (int d = 0; d < directions; ++d) {
    b.inputs[d] = arena.take(a.batch * a.steps * gates_of(cell) * a.hidden * item);
    b.state[d] = arena.take(2 * a.batch * scratch_row(a, a.hidden) * item);
  }
  b.arrived = arena.take(directions * a.batch * sizeof(uint32_t));
  b.gemm = arena.take(kernel_table().gemm->workspace(inputs_product(a, cell)));
  return b;
}

template <RecurrentCell kCell>
size_t forward_workspace(const RecurrentArgs* layers, int directions) {
  Arena arena{nullptr};
  forward_buffers(layers[0], kCell, directions, arena);
  return arena.used;
}

template <RecurrentCell kCell>
void forward(const RecurrentArgs* layers, int directions) {
  const RecurrentArgs& a = layers[0];
  expect_sizes(a, kCell);
  Arena arena{static_cast<char*>(a.workspace)};
  const ForwardBuffers buffers = forward_buffers(a, kCell, directions, arena);
  const LoopSizes sizes{kCell, directions, a.steps, a.hidden, true};
  const LoopPlan plan =
      a.dtype == Dtype::f32 ? plan_loop(a, sizes, forward_f32) : plan_loop(a, sizes, forward_f64);
  RecurrentForwardArgs p{};
  p.loop = loop_of(a, sizes, plan, buffers.arrived);
  p.input = static_cast<int32_t>(a.input);
  p.state_row = static_cast<int32_t>(scratch_row(a, a.hidden));
  p.x_row = a.row_n * a.input;
  p.y_n = a.y.n_stride;
  p.y_t = a.y.t_stride;
  p.input_vectors = p.hidden_vectors = true;
  for (int d = 0; d < directions; ++d) {
    const RecurrentArgs& l = layers[d];
    const PackedLayer w = weights_of(l);
    p.side[d] = {l.x,     l.h0,     l.c0,  w.weight_ih, w.weight_hh, w.bias_ih,       w.bias_hh,
                 nullptr, l.y.data, l.h_n, l.c_n,       l.saved,     buffers.state[d]};
    p.input_vectors = p.input_vectors && is_vectors(a, a.input, {l.x, w.weight_ih});
    p.hidden_vectors = p.hidden_vectors && is_vectors(a, a.hidden, {l.h0, w.weight_hh});
    if (a.steps < 2) continue;
    GemmArgs g = inputs_product(l, kCell);
    g.a = l.x;
    g.b = w.weight_ih;
    g.c = buffers.inputs[d];
    g.bias = w.bias_ih;
    g.workspace = buffers.gemm;
    kernel_table().gemm->run(g);
    p.side[d].inputs = buffers.inputs[d];
    if (p.state_row > a.hidden) {
      fill_zero(buffers.state[d], 2 * a.batch * p.state_row * size_of(a.dtype));
    }
  }
  run_loop(a, sizes, plan, p);
}

// ---------------------------------------------------------------- backward

// dx = dgates_x weight_ih.
GemmArgs dx_product(const RecurrentArgs& a, RecurrentCell cell) {
  GemmArgs g = rows_product(a, a.input, gates_of(cell) * a.hidden);
  g.b_row = a.input;
  g.b_col = 1;
  g.accumulate = a.accumulate_dx;
  return g;
}

// dweight = dgates^T rows, where `rows` (x, or the hidden states) are `columns` wide.
GemmArgs dweight_product(const RecurrentArgs& a, RecurrentCell cell, int64_t columns) {
  GemmArgs g{};
  g.dtype = a.dtype;
  g.m = gates_of(cell) * a.hidden;
  g.n = columns;
  g.k = a.batch * a.steps;
  g.a_row = 1;
  g.a_col = g.m;
  g.b_row = columns;
  g.b_col = 1;
  g.c_row = columns;
  return g;
}

BiasBackwardArgs bias_sum(const RecurrentArgs& a, RecurrentCell cell) {
  return {a.dtype, a.dtype, a.batch * a.steps, gates_of(cell) * a.hidden,
          1,       nullptr, nullptr,           nullptr};
}

struct BackwardBuffers {
  void *dgates_x[2], *dgates_h[2], *h_prev[2], *x[2], *weight[2], *step[2], *arrived, *scratch;
};

BackwardBuffers backward_buffers(const RecurrentArgs& a, RecurrentCell cell, int directions,
                                 Arena& arena) {
  const size_t item = size_of(a.dtype), rows = a.batch * a.steps;
  const int64_t gates = gates_of(cell) * a.hidden, step_row = scratch_row(a, gates);
  BackwardBuffers b{};
  for (int d = 0; d < directions; ++d) {
    b.dgates_x[d] = arena.take(rows * gates * item);
    b.dgates_h[d] = cell == RecurrentCell::gru ? arena.take(rows * gates * item) : b.dgates_x[d];
    b.h_prev[d] = arena.take(rows * a.hidden * item);
    if (a.lengths != nullptr) b.x[d] = arena.take(rows * a.input * item);
    b.weight[d] = arena.take(a.hidden * step_row * item);
    b.step[d] = arena.take(2 * a.batch * step_row * item);
  }
  b.arrived = arena.take(directions * a.batch * sizeof(uint32_t));
  const GemmKernels& gemm = *kernel_table().gemm;
  b.scratch = arena.take(std::max({gemm.workspace(dx_product(a, cell)),
                                   gemm.workspace(dweight_product(a, cell, a.input)),
                                   gemm.workspace(dweight_product(a, cell, a.hidden)),
                                   gemm.bias_backward_workspace(bias_sum(a, cell))}));
  return b;
}

template <RecurrentCell kCell>
size_t backward_workspace(const RecurrentArgs* layers, int directions) {
  Arena arena{nullptr};
  backward_buffers(layers[0], kCell, directions, arena);
  return arena.used;
}

// weight_hh with k contiguous, and the rows that the products over all steps need.
void prepare(const RecurrentArgs& a, RecurrentCell cell, const BackwardBuffers& b, int d) {
  constexpr int64_t kTransposed = 32;  // rows and columns a block transposes
  const bool f32 = a.dtype == Dtype::f32;
  const int64_t gates = gates_of(cell) * a.hidden, step_row = scratch_row(a, gates);
  const RecurrentTransposeArgs t{a.weight_hh, b.weight[d], static_cast<int32_t>(gates),
                                 static_cast<int32_t>(a.hidden), step_row};
  const Grid grid{narrow(divide_up(step_row, kTransposed)),
                  narrow(divide_up(a.hidden, kTransposed))};
  launch(f32 ? transpose_f32 : transpose_f64, grid, kRecurrentThreads,
         kTransposed * (kTransposed + 1) * size_of(a.dtype), t);

  RecurrentGatherArgs g{};
  g.h0 = a.h0;
  g.y = a.y.data;
  g.x = a.x;
  g.y_n = a.y.n_stride;
  g.y_t = a.y.t_stride;
  g.lengths = a.lengths;
  g.reverse = a.reverse;
  g.batch_major = a.row_t == 1;
  g.rows = narrow(a.batch * a.steps);
  g.steps = static_cast<int32_t>(a.steps);
  g.hidden = static_cast<int32_t>(a.hidden);
  g.input = static_cast<int32_t>(a.input);
  g.inner = divider(narrow(std::max<int64_t>(g.batch_major ? a.steps : a.batch, 1)));
  g.h_prev = b.h_prev[d];
  g.x_active = b.x[d];
  launch(f32 ? gather_f32 : gather_f64, {blocks_for(g.rows, 1)}, kRecurrentThreads, 0, g);
}

// dx and the gradients of the weights and biases, from those of the gates at all steps.
void parameter_gradients(const RecurrentArgs& a, RecurrentCell cell, const BackwardBuffers& b,
                         int d) {
  const GemmKernels& gemm = *kernel_table().gemm;
  const auto run = [&](GemmArgs g, const void* left, const void* right, void* result) {
    if (result == nullptr) return;
    g.a = left;
    g.b = right;
    g.c = result;
    g.workspace = b.scratch;
    gemm.run(g);
  };
  run(dx_product(a, cell), b.dgates_x[d], a.weight_ih, a.dx);
  run(dweight_product(a, cell, a.input), b.dgates_x[d], b.x[d] != nullptr ? b.x[d] : a.x,
      a.dweight_ih);
  run(dweight_product(a, cell, a.hidden), b.dgates_h[d], b.h_prev[d], a.dweight_hh);
  const auto sum = [&](const void* dgates, void* dbias) {
    BiasBackwardArgs bias = bias_sum(a, cell);
    bias.dy = dgates;
    bias.dbias = dbias;
    bias.workspace = b.scratch;
    gemm.bias_backward(bias);
  };
  if (a.dbias_ih != nullptr) sum(b.dgates_x[d], a.dbias_ih);
  if (a.dbias_hh != nullptr && a.dbias_ih != nullptr && b.dgates_h[d] == b.dgates_x[d]) {
    copy(a.dbias_hh, a.dbias_ih, gates_of(cell) * a.hidden * size_of(a.dtype), false, false);
  } else if (a.dbias_hh != nullptr) {
    sum(b.dgates_h[d], a.dbias_hh);
  }
}

template <RecurrentCell kCell>
void backward(const RecurrentArgs* layers, int directions) {
  const RecurrentArgs& a = layers[0];
  expect_sizes(a, kCell);
  Arena arena{static_cast<char*>(a.workspace)};
  const BackwardBuffers buffers = backward_buffers(a, kCell, directions, arena);
  const LoopSizes sizes{kCell, directions, a.steps + 1, gates_of(kCell) * a.hidden, false};
  const LoopPlan plan =
      a.dtype == Dtype::f32 ? plan_loop(a, sizes, backward_f32) : plan_loop(a, sizes, backward_f64);
  RecurrentBackwardArgs p{};
  p.loop = loop_of(a, sizes, plan, buffers.arrived);
  p.step_row = static_cast<int32_t>(scratch_row(a, sizes.k));
  p.dy_n = a.dy.n_stride;
  p.dy_t = a.dy.t_stride;
  for (int d = 0; d < directions; ++d) {
    const RecurrentArgs& l = layers[d];
    prepare(l, kCell, buffers, d);
    p.side[d] = {l.saved,
                 l.c0,
                 l.dy.data,
                 l.dh_n,
                 l.dc_n,
                 buffers.h_prev[d],
                 buffers.weight[d],
                 l.dh0,
                 l.dc0,
                 buffers.dgates_x[d],
                 buffers.dgates_h[d],
                 buffers.step[d]};
    if (p.step_row > sizes.k) {
      fill_zero(buffers.step[d], 2 * a.batch * p.step_row * size_of(a.dtype));
    }
  }
  run_loop(a, sizes, plan, p);
  for (int d = 0; d < directions; ++d) parameter_gradients(layers[d], kCell, buffers, d);
}

template <RecurrentCell kCell>
constexpr RecurrentKernels kTable = {
    .packed_bytes = packed_bytes,
    .pack = pack,
    .forward_workspace = forward_workspace<kCell>,
    .forward = forward<kCell>,
    .backward_workspace = backward_workspace<kCell>,
    .backward = backward<kCell>,
};

}  // namespace

extern const RecurrentKernels gru_kernels;
constinit const RecurrentKernels gru_kernels = kTable<RecurrentCell::gru>;
extern const RecurrentKernels lstm_kernels;
constinit const RecurrentKernels lstm_kernels = kTable<RecurrentCell::lstm>;
extern const RecurrentKernels rnn_relu_kernels;
constinit const RecurrentKernels rnn_relu_kernels = kTable<RecurrentCell::rnn_relu>;
extern const RecurrentKernels rnn_tanh_kernels;
constinit const RecurrentKernels rnn_tanh_kernels = kTable<RecurrentCell::rnn_tanh>;

}  // namespace medkern::cuda
