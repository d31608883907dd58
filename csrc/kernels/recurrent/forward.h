// The forward pass that all cells share, for *.simd.cpp files.
//
//   slots = x weight_ih^T + bias + h weight_hh^T, then the cell's gates, for one block of hidden
//   units (as many as a vector has lanes) and a few samples at a time: all gates of those units.
//
// Loops     by samples: chunks, steps, blocks of units; x of the step is multiplied there and then.
//           by units:   x of some steps beforehand (a weight serves them all, and the products stay
//                       in the cache); then those steps, blocks.
// Flops     2 N T G H (I + H).
// Memory    weights are packed once, block after block of units, the block's gates side by side;
//           sums of gates live in the L1 cache, h in scratch memory of two steps.
// Numerics  a sum is one chain of fma: bias, x's, h's. A sample's h, c and y have the same bits
//           alone or in a batch.
#pragma once

#include "kernels/gemm/pack.simd.h"
#include "kernels/recurrent/products.h"
#include "kernels/recurrent/steps.h"

namespace medkern::MK_ISA {
namespace {

// One sample at one step. Columns are hidden units.
template <class T>
struct ForwardRow {
  const T* slots;  // of the block of units
  const T* h_prev;
  const T* c_prev;  // LSTM only; nullptr for zeros
  T* h;
  T* c;      // LSTM only
  T* y;      // may be nullptr
  T* saved;  // may be nullptr
  int64_t hidden;
};

// Packed weights of one direction: for each block of units its biases, weight_ih and weight_hh, as
// rows of k that hold all gates of the units.
template <class Cell>
struct PackedLayer {
  using T = typename Cell::Scalar;
  static constexpr int64_t kLanes = Vec<T>::kLanes;

  T* base;
  int64_t blocks, input, hidden;

  PackedLayer(const RecurrentArgs& a, const void* memory)
      : base(static_cast<T*>(const_cast<void*>(memory))),  // written by pack_units only
        blocks(divide_up(a.hidden, kLanes)),
        input(a.input),
        hidden(a.hidden) {}

  // Weights of a block, its bias first.
  int64_t block_size() const {
    return ((input + 1) * Cell::kInputs + (hidden + 1) * Cell::kGates) * kLanes;
  }
  T* bias(int64_t at) const { return base + at * block_size(); }
  T* hidden_bias(int64_t at) const { return bias(at) + Cell::kInputs * kLanes; }
  T* weight_ih(int64_t at) const { return hidden_bias(at) + Cell::kGates * kLanes; }
  T* weight_hh(int64_t at) const { return weight_ih(at) + input * Cell::kInputs * kLanes; }
};

// Writes the weights of a block of units, and its biases, as block `at`.
template <class Cell>
void pack_units(const RecurrentArgs& a, const PackedLayer<Cell>& layer, int64_t block, int64_t at) {
  using T = typename Cell::Scalar;
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t first = block * kLanes, lanes = smaller(a.hidden - first, kLanes);
  // Rows first .. first + lanes of gate `gate`, as vector `slot` of `slots`.
  const auto pack = [&](const void* weight, int64_t columns, int64_t gate, int64_t slot,
                        int64_t slots, T* to) {
    const T* from = static_cast<const T*>(weight) + (gate * a.hidden + first) * columns;
    for_each_column(from, columns, lanes, columns,
                    [&](int64_t k, Vec<T> v) { v.store(to + (k * slots + slot) * kLanes); });
  };
  const auto bias_of = [&](const void* bias, int64_t gate) {
    return bias != nullptr
               ? Vec<T>::load(static_cast<const T*>(bias) + gate * a.hidden + first, lanes)
               : Vec<T>::zero();
  };
  for (int64_t slot = 0; slot < Cell::kInputs; ++slot) {
    const int64_t gate = Cell::kInputGate[slot];
    pack(a.weight_ih, a.input, gate, slot, Cell::kInputs, layer.weight_ih(at));
    Vec<T> bias = bias_of(a.bias_ih, gate);
    if (!Cell::own_hidden_bias(gate) && a.bias_hh != nullptr) bias += bias_of(a.bias_hh, gate);
    bias.store(layer.bias(at) + slot * kLanes);
  }
  for (int64_t gate = 0; gate < Cell::kGates; ++gate) {
    pack(a.weight_hh, a.hidden, gate, gate, Cell::kGates, layer.weight_hh(at));
    const Vec<T> bias = Cell::own_hidden_bias(gate) ? bias_of(a.bias_hh, gate) : Vec<T>::zero();
    bias.store(layer.hidden_bias(at) + gate * kLanes);
  }
}

// The rows of a step: row i is sample first + i.
template <class T>
struct Step {
  int64_t s, first, rows;
  bool idle;   // for all of them
  const T* x;  // [rows, I], or nullptr if `sums` hold its products
  int64_t x_row;
  T* sums;  // of a block of units: [N, sums_row], this step's first
  int64_t sums_row;
  int64_t sums_block;  // from a block to the next
  const T* h_prev;
  int64_t h_prev_row;
  T* h;
  int64_t h_row;
};

// What all blocks of units need to know of a row of a step.
template <class T>
struct PlacedRow {
  ForwardRow<T> at;  // but for its slots
  bool active;       // false if the sample has ended
};

template <class Cell>
PlacedRow<typename Cell::Scalar> place_row(const RecurrentArgs& a,
                                           const Step<typename Cell::Scalar>& step, int64_t i) {
  using T = typename Cell::Scalar;
  const int64_t n = step.first + i, length = length_of(a, n), t = time_of(a, step.s, length);
  const int64_t row = row_of(a, n, t);
  T* c = a.c_n != nullptr ? static_cast<T*>(a.c_n) + n * a.hidden : nullptr;
  const T* c0 = a.c0 != nullptr ? static_cast<const T*>(a.c0) + n * a.hidden : nullptr;
  T* saved = static_cast<T*>(a.saved);
  return {.at = {.slots = nullptr,
                 .h_prev = step.h_prev + i * step.h_prev_row,
                 .c_prev = step.s > 0 ? c : c0,
                 .h = step.h + i * step.h_row,
                 .c = c,
                 .y = step_row<T>(a.y, n, t),
                 .saved = saved != nullptr ? saved + row * Cell::kSaved * a.hidden : nullptr,
                 .hidden = a.hidden},
          .active = step.s < length};
}

// Where in a row of sums those that h is part of begin.
template <class Cell>
constexpr int64_t kHiddenSlot = Cell::kSlots - Cell::kGates;

// Sums of gates that begin with x: + bias, x's products. Columns of `sums` beyond those get the
// bias that h's products begin with.
template <class Cell, class T>
void add_input(const PackedLayer<Cell>& layer, int64_t at, int64_t rows, const T* x, int64_t x_row,
               T* sums, int64_t sums_row) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t slot = Cell::kInputs; slot < Cell::kSlots; ++slot) {
      const T* bias = layer.hidden_bias(at) + (slot - kHiddenSlot<Cell>)*kLanes;
      Vec<T>::load(bias).store(sums + i * sums_row + slot * kLanes);
    }
  }
  add_products<Cell::kInputs>(rows, layer.input, x, x_row, layer.weight_ih(at), sums, sums_row,
                              layer.bias(at));
}

// The gates of a block of units, from their sums, for some rows of a step.
template <class Cell, class T>
void apply_gates(const RecurrentArgs& a, int64_t block, bool first_step, int64_t rows,
                 PlacedRow<T>* placed, const T* sums, int64_t sums_row) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t j = block * kLanes, j_end = smaller(j + kLanes, a.hidden);
  for (int64_t i = 0; i < rows; ++i) {
    ForwardRow<T>& row = placed[i].at;
    row.slots = sums + i * sums_row;
    if (placed[i].active) {
      for_vectors<T>(j, j_end, [&](int64_t k, auto access) { Cell::forward(row, k, access); });
      continue;
    }
    copy_or_zero(row.h + j, row.h_prev + j, j_end - j);
    if (row.c != nullptr && first_step) {
      copy_or_zero(row.c + j, row.c_prev != nullptr ? row.c_prev + j : nullptr, j_end - j);
    }
    if (row.y != nullptr) fill_zero(row.y + j, j_end - j);
  }
}

// One step of blocks begin .. end of units, whose weights are from block `at` of `layer` on. A
// block's gates come after the sums of the next one where there is room for both: then the
// processor need not wait for the end of a chain of fma.
template <class Cell>
void step_units(const RecurrentArgs& a, const PackedLayer<Cell>& layer, int64_t at, int64_t begin,
                int64_t end, const Step<typename Cell::Scalar>& step) {
  using T = typename Cell::Scalar;
  constexpr int64_t kLanes = Vec<T>::kLanes, kRow = Cell::kSlots * kLanes;
  alignas(64) T own_sums[kMostRows * kRow];
  PlacedRow<T> placed[kMostRows];
  const bool ahead = step.sums != nullptr;
  const int64_t sums_row = ahead ? step.sums_row : kRow;
  for (int64_t first = 0; first < step.rows; first += kMostRows) {
    const int64_t rows = smaller(step.rows - first, kMostRows);
    const bool room = ahead || 2 * rows <= kMostRows;
    for (int64_t i = 0; i < rows; ++i) placed[i] = place_row<Cell>(a, step, first + i);
    const auto sums_of = [&](int64_t block) {
      return ahead ? step.sums + block * step.sums_block + first * sums_row
                   : own_sums + (room ? block % 2 * rows * kRow : 0);
    };
    const auto gates = [&](int64_t block) {
      apply_gates<Cell>(a, block, step.s == 0, rows, placed, sums_of(block), sums_row);
    };
    for (int64_t block = begin; block < end; ++block) {
      const int64_t weights = at + block - begin;
      T* sums = sums_of(block);
      if (!step.idle && !ahead) {
        add_input(layer, weights, rows, step.x + first * step.x_row, step.x_row, sums, sums_row);
      }
      if (!step.idle) {
        add_products<Cell::kGates>(rows, a.hidden, step.h_prev + first * step.h_prev_row,
                                   step.h_prev_row, layer.weight_hh(weights),
                                   sums + kHiddenSlot<Cell> * kLanes, sums_row);
      }
      if (!room) gates(block);
      if (room && block > begin) gates(block - 1);
    }
    if (room && begin < end) gates(end - 1);
  }
}

// Products of x that a layer cut by units computes at once, about: they stay in the L2 caches.
constexpr int64_t kBytesAhead = 1 << 20;

// The steps that gives: whole tiles of a sample, and as many each time.
template <class Cell>
int64_t steps_ahead(const RecurrentArgs& a, int64_t blocks) {
  using T = typename Cell::Scalar;
  constexpr int64_t kRowBytes = Cell::kSlots * Vec<T>::kLanes * sizeof(T);
  const int64_t rows = kBytesAhead / (larger(a.batch, 1) * larger(blocks, 1) * kRowBytes);
  const int64_t most = larger(rows / kTileRows, 1) * kTileRows;
  return divide_up(a.steps, larger(divide_up(a.steps, most), 1));
}

template <class T>
struct ForwardBuffers {
  T* packed[2];  // per direction
  T* zeros;      // [H]
  T* sums[2];    // by units: of gates, [blocks, N, steps ahead, kSlots vectors]
  T* h[2];       // by units: [2, N, h_row]; by samples: of all chunks
  T* x[2];       // by samples: [N, x_row]
  int64_t h_row, x_row;
  int64_t ahead;          // steps multiplied with x at once
  int64_t sums_row;       // their sums of a block of units, of a sample
  int64_t sums_block;     // and of all samples
  int64_t packed_blocks;  // there is room for
};

template <class Cell>
size_t packed_bytes_of(const RecurrentArgs& a) {
  const PackedLayer<Cell> layer(a, nullptr);
  return layer.blocks * layer.block_size() * sizeof(typename Cell::Scalar);
}

template <class Cell>
Cut forward_cut(const RecurrentArgs* a, int directions) {
  return cut_of(*a, directions, packed_bytes_of<Cell>(*a));
}

template <class Cell>
ForwardBuffers<typename Cell::Scalar> forward_buffers(const RecurrentArgs* layers, int directions,
                                                      Arena& arena) {
  using T = typename Cell::Scalar;
  const RecurrentArgs& a = layers[0];
  const PackedLayer<Cell> layer(a, nullptr);
  const Cut cut = forward_cut<Cell>(layers, directions);
  ForwardBuffers<T> b{};
  b.h_row = scratch_row<T>(a.hidden);
  b.x_row = scratch_row<T>(a.input);
  b.ahead = steps_ahead<Cell>(a, layer.blocks);
  b.sums_row = b.ahead * Cell::kSlots * Vec<T>::kLanes;
  b.sums_block = a.batch * b.sums_row;
  // A single step packs, uses and forgets one block after the other.
  b.packed_blocks = a.steps > 1 ? layer.blocks : max_workers();
  b.zeros = arena.take<T>(a.hidden);
  for (int d = 0; d < directions; ++d) {
    if (a.packed == nullptr) b.packed[d] = arena.take<T>(b.packed_blocks * layer.block_size());
    if (a.steps > 1) b.h[d] = arena.take<T>(2 * a.batch * b.h_row);
    if (cut.by_units) {
      if (a.steps > 1) b.sums[d] = arena.take<T>(layer.blocks * b.sums_block);
    } else {
      b.x[d] = arena.take<T>(a.batch * b.x_row);
    }
  }
  return b;
}

// The states before and after step s, for samples from `first` on.
template <class T>
void set_states(const RecurrentArgs& a, const ForwardBuffers<T>& b, int d, int64_t first,
                Step<T>& step) {
  const auto scratch = [&](int64_t s) { return b.h[d] + (s % 2 * a.batch + first) * b.h_row; };
  if (step.s > 0) {
    step.h_prev = scratch(step.s - 1);
    step.h_prev_row = b.h_row;
  } else {
    step.h_prev = a.h0 != nullptr ? static_cast<const T*>(a.h0) + first * a.hidden : b.zeros;
    step.h_prev_row = a.h0 != nullptr ? a.hidden : 0;
  }
  const bool last = step.s == a.steps - 1;
  step.h = last ? static_cast<T*>(a.h_n) + first * a.hidden : scratch(step.s);
  step.h_row = last ? a.hidden : b.h_row;
}

template <class Cell>
void forward_by_samples(const RecurrentArgs* layers, int directions, const Cut& cut,
                        const ForwardBuffers<typename Cell::Scalar>& b, int64_t work) {
  using T = typename Cell::Scalar;
  const PackedLayer<Cell> sizes(layers[0], nullptr);
  if (layers[0].packed == nullptr) {
    const int64_t elements = sizes.blocks * sizes.block_size();
    parallel_for(directions * sizes.blocks, directions * elements, [&](int64_t task, int) {
      const int64_t d = task / sizes.blocks, block = task % sizes.blocks;
      pack_units<Cell>(layers[d], PackedLayer<Cell>(layers[d], b.packed[d]), block, block);
    });
  }
  parallel_for(directions * cut.chunks, work, [&](int64_t task, int) {
    const int d = static_cast<int>(task / cut.chunks);
    const RecurrentArgs& a = layers[d];
    const PackedLayer<Cell> layer(a, a.packed != nullptr ? a.packed : b.packed[d]);
    const int64_t first = chunk_start(a, cut, task % cut.chunks);
    Step<T> step{};
    step.first = first;
    step.rows = chunk_start(a, cut, task % cut.chunks + 1) - first;
    T* x = b.x[d] + first * b.x_row;
    step.x = x;
    step.x_row = b.x_row;
    const int64_t most = longest(a, first, step.rows);
    for (step.s = 0; step.s < a.steps; ++step.s) {
      step.idle = step.s >= most;
      for (int64_t i = 0; i < step.rows && !step.idle; ++i) {
        const int64_t n = first + i, t = time_of(a, step.s, length_of(a, n));
        const T* from = static_cast<const T*>(a.x) + row_of(a, n, t) * a.input;
        for_vectors<T>(0, a.input, [&](int64_t j, auto access) {
          access.store(access.load(from + j), x + i * b.x_row + j);
        });
      }
      set_states(a, b, d, first, step);
      step_units(a, layer, 0, 0, layer.blocks, step);
    }
  });
}

constexpr int64_t kBlocksTogether = 4;

// A single step: the units don't wait for each other.
template <class Cell>
void forward_step(const RecurrentArgs* layers, int d,
                  const ForwardBuffers<typename Cell::Scalar>& b, int64_t work) {
  using T = typename Cell::Scalar;
  const RecurrentArgs& a = layers[d];
  const PackedLayer<Cell> layer(a, a.packed != nullptr ? a.packed : b.packed[d]);
  Step<T> step{};
  step.rows = a.batch;
  step.idle = longest(a, 0, a.batch) == 0;
  step.x = static_cast<const T*>(a.x);
  step.x_row = a.input;
  set_states(a, b, d, 0, step);
  // Several blocks to a task where rows are few; an even number of tasks, for two threads.
  int64_t tasks = divide_up(layer.blocks, smaller(kBlocksTogether, larger(kMostRows / a.batch, 1)));
  tasks = smaller(tasks + tasks % 2, layer.blocks);
  parallel_for(tasks, work, [&](int64_t task, int worker) {
    const int64_t begin = tile_start(task, tasks, layer.blocks);
    const int64_t end = tile_start(task + 1, tasks, layer.blocks);
    if (a.packed != nullptr) return step_units(a, layer, begin, begin, end, step);
    for (int64_t block = begin; block < end; ++block) {
      pack_units<Cell>(a, layer, block, worker);
      step_units(a, layer, worker, block, block + 1, step);
    }
  });
}

// The part of x in the sums of gates at steps first .. last, of blocks from .. to: into sums[block,
// n, step - first]: a worker's blocks side by side, so that no other fetches their lines ahead.
template <class Cell>
void multiply_ahead(const RecurrentArgs& a, const PackedLayer<Cell>& layer, int64_t from,
                    int64_t to, int64_t first, int64_t last, typename Cell::Scalar* sums,
                    int64_t sums_row, int64_t sums_block) {
  using T = typename Cell::Scalar;
  constexpr int64_t kColumns = Cell::kSlots * Vec<T>::kLanes;
  const int64_t along = (a.reverse ? -a.row_t : a.row_t) * a.input;  // from a step to the next
  for (int64_t block = from; block < to; ++block) {
    for (int64_t n = 0; n < a.batch; ++n) {
      const int64_t length = length_of(a, n), end = smaller(last, length);
      if (end <= first) continue;
      const int64_t row = row_of(a, n, time_of(a, first, length));
      add_input(layer, block, end - first, static_cast<const T*>(a.x) + row * a.input, along,
                sums + block * sums_block + n * sums_row, kColumns);
    }
  }
}

template <class Cell>
void forward_by_units(const RecurrentArgs* layers, int directions,
                      const ForwardBuffers<typename Cell::Scalar>& b, int64_t work) {
  using T = typename Cell::Scalar;
  const int64_t blocks = PackedLayer<Cell>(layers[0], nullptr).blocks, parts = directions * blocks;
  const bool packed = layers[0].packed != nullptr;
  const int64_t most = longest(layers[0], 0, layers[0].batch);
  parallel_team(static_cast<int>(smaller(parts, max_workers())), work, [&](Team& team) {
    const int64_t begin = share_start(team, parts, team.worker());
    const int64_t end = share_start(team, parts, team.worker() + 1);
    // Calls body(d, layer, from, to) for this worker's blocks of each direction.
    const auto for_parts = [&](auto body) {
      for (int d = 0; d < directions; ++d) {
        const int64_t from = larger(begin - d * blocks, 0), to = smaller(end - d * blocks, blocks);
        const PackedLayer<Cell> layer(layers[d], packed ? layers[d].packed : b.packed[d]);
        if (from < to) body(d, layer, from, to);
      }
    };
    for_parts([&](int d, const PackedLayer<Cell>& layer, int64_t from, int64_t to) {
      for (int64_t block = from; block < to && !packed; ++block) {
        pack_units<Cell>(layers[d], layer, block, block);
      }
    });
    for (int64_t s = 0; s < layers[0].steps; ++s) {
      if (s > 0) team.barrier();
      for_parts([&](int d, const PackedLayer<Cell>& layer, int64_t from, int64_t to) {
        const RecurrentArgs& a = layers[d];
        if (s % b.ahead == 0) {
          multiply_ahead(a, layer, from, to, s, smaller(s + b.ahead, a.steps), b.sums[d],
                         b.sums_row, b.sums_block);
        }
        Step<T> step{};
        step.s = s;
        step.rows = a.batch;
        step.idle = s >= most;
        step.sums = b.sums[d] + s % b.ahead * Cell::kSlots * Vec<T>::kLanes;
        step.sums_row = b.sums_row;
        step.sums_block = b.sums_block;
        set_states(a, b, d, 0, step);
        // What other workers wrote of h comes from their caches: all of it at once.
        for (int64_t n = 0; n < a.batch && s > 0; ++n) {
          for (int64_t j = 0; j < a.hidden; j += 64 / sizeof(T)) {
            __builtin_prefetch(step.h_prev + n * step.h_prev_row + j);
          }
        }
        step_units(a, layer, from, from, to, step);
      });
    }
  });
}

// All directions of a layer, of which there may be two.
template <class Cell>
void sequence_forward(const RecurrentArgs* layers, int directions) {
  using T = typename Cell::Scalar;
  const RecurrentArgs& a = layers[0];
  Arena arena{static_cast<char*>(a.workspace)};
  const ForwardBuffers<T> b = forward_buffers<Cell>(layers, directions, arena);
  for (int d = 0; d < directions && a.steps == 0; ++d) {
    const RecurrentArgs& l = layers[d];
    copy_or_zero(static_cast<T*>(l.h_n), static_cast<const T*>(l.h0), l.batch * l.hidden);
    if (l.c_n == nullptr) continue;
    copy_or_zero(static_cast<T*>(l.c_n), static_cast<const T*>(l.c0), l.batch * l.hidden);
  }
  if (a.steps == 0) return;
  fill_zero(b.zeros, a.hidden);
  const int64_t work =
      2 * directions * a.batch * a.steps * Cell::kGates * a.hidden * (a.input + a.hidden);
  const Cut cut = forward_cut<Cell>(layers, directions);
  if (a.steps == 1) {
    for (int d = 0; d < directions; ++d) forward_step<Cell>(layers, d, b, work);
  } else if (cut.by_units) {
    forward_by_units<Cell>(layers, directions, b, work);
  } else {
    forward_by_samples<Cell>(layers, directions, cut, b, work);
  }
}

template <class Cell>
size_t sequence_forward_workspace(const RecurrentArgs* layers, int directions) {
  Arena arena{nullptr};
  forward_buffers<Cell>(layers, directions, arena);
  return arena.used;
}

template <class Cell>
void pack_sequence(const RecurrentArgs& a, void* packed) {
  const PackedLayer<Cell> layer(a, packed);
  parallel_for(layer.blocks, layer.blocks * layer.block_size(),
               [&](int64_t block, int) { pack_units<Cell>(a, layer, block, block); });
}

}  // namespace
}  // namespace medkern::MK_ISA
