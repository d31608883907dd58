// The forward pass that all cells share, for *.simd.cpp files.
//
//   slots = x weight_ih^T + bias + h weight_hh^T, then the cell's gates, for one block of hidden
//   units (as many as a vector has lanes) and a few samples at a time: all gates of those units.
//
// Loops     by samples: chunks, steps, blocks of units; x of the step is multiplied there and then.
//           by units:   x of all steps beforehand (a weight serves them all); then steps, blocks.
// Flops     2 N T G H (I + H).
// Memory    weights are packed once, block after block of units, the block's gates side by side;
//           sums of gates live in the L1 cache, h in scratch memory of two steps.
// Numerics  sums are chains of fma over kGemmBlockK, added one after the other: x's, bias, h's. A
//           sample's h, c and y have the same bits alone or in a batch.
#pragma once

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

// Packed weights of one direction: for each block of units what pack_b makes of its columns.
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
    const int64_t pair = slot / kTileVectors * kTileVectors;
    const int64_t width = panel_width<T>((slots - pair) * kLanes);
    const T* from = static_cast<const T*>(weight) + (gate * a.hidden + first) * columns;
    T* panel = to + pair * kLanes * columns + (slot - pair) * kLanes;
    for_each_column(from, columns, lanes, columns,
                    [&](int64_t k, Vec<T> v) { v.store(panel + k * width); });
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
  const T* x;  // [rows, I], or nullptr if `pre` holds its products
  int64_t x_row;
  const T* pre;  // [N T, pre_row], of all samples
  int64_t pre_row;
  const T* h_prev;
  int64_t h_prev_row;
  T* h;
  int64_t h_row;
};

// What all blocks of units need to know of a row of a step.
template <class T>
struct PlacedRow {
  ForwardRow<T> at;  // but for its slots
  const T* pre;      // products with x of all blocks, or nullptr
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
          .pre = step.pre != nullptr ? step.pre + row * step.pre_row : nullptr,
          .active = step.s < length};
}

// The sums of gates of a block of units for rows first .. first + rows of a step.
template <class Cell>
void sum_gates(const RecurrentArgs& a, const PackedLayer<Cell>& layer, int64_t at, int64_t block,
               const Step<typename Cell::Scalar>& step, int64_t first, int64_t rows,
               const PlacedRow<typename Cell::Scalar>* placed, typename Cell::Scalar* slots) {
  using T = typename Cell::Scalar;
  constexpr int64_t kLanes = Vec<T>::kLanes, kRow = Cell::kSlots * kLanes;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < Cell::kInputs * kLanes && step.pre != nullptr; k += kLanes) {
      Vec<T>::load(placed[i].pre + block * Cell::kInputs * kLanes + k).store(slots + i * kRow + k);
    }
    for (int64_t k = Cell::kInputs * kLanes; k < kRow; k += kLanes) {
      Vec<T>::zero().store(slots + i * kRow + k);
    }
  }
  if (step.pre == nullptr) {
    multiply_block(BlockProduct<T>{.rows = rows,
                                   .k = a.input,
                                   .a = step.x + first * step.x_row,
                                   .a_row = step.x_row,
                                   .b = layer.weight_ih(at),
                                   .columns = Cell::kInputs * kLanes,
                                   .c = slots,
                                   .c_row = kRow,
                                   .accumulate = false,
                                   .bias = layer.bias(at)});
  }
  multiply_block(BlockProduct<T>{
      .rows = rows,
      .k = a.hidden,
      .a = step.h_prev + first * step.h_prev_row,
      .a_row = step.h_prev_row,
      .b = layer.weight_hh(at),
      .columns = Cell::kGates * kLanes,
      .c = slots + kRow - Cell::kGates * kLanes,
      .c_row = kRow,
      .accumulate = true,
      .bias = Cell::own_hidden_bias(Cell::kGates - 1) ? layer.hidden_bias(at) : nullptr});
}

// One step of blocks begin .. end of units, whose weights are from block `at` of `layer` on.
template <class Cell>
void step_units(const RecurrentArgs& a, const PackedLayer<Cell>& layer, int64_t at, int64_t begin,
                int64_t end, const Step<typename Cell::Scalar>& step) {
  using T = typename Cell::Scalar;
  constexpr int64_t kLanes = Vec<T>::kLanes, kRow = Cell::kSlots * kLanes;
  alignas(64) T slots[kMostRows * kRow];
  PlacedRow<T> placed[kMostRows];
  for (int64_t first = 0; first < step.rows; first += kMostRows) {
    const int64_t rows = smaller(step.rows - first, kMostRows);
    for (int64_t i = 0; i < rows; ++i) {
      placed[i] = place_row<Cell>(a, step, first + i);
      placed[i].at.slots = slots + i * kRow;
    }
    for (int64_t block = begin; block < end; ++block) {
      const int64_t j = block * kLanes, j_end = smaller(j + kLanes, a.hidden);
      if (!step.idle) {
        sum_gates(a, layer, at + block - begin, block, step, first, rows, placed, slots);
      }
      for (int64_t i = 0; i < rows; ++i) {
        const ForwardRow<T>& row = placed[i].at;
        if (placed[i].active) {
          for_vectors<T>(j, j_end, [&](int64_t k, auto access) { Cell::forward(row, k, access); });
          continue;
        }
        copy_or_zero(row.h + j, row.h_prev + j, j_end - j);
        if (row.c != nullptr && step.s == 0) {
          copy_or_zero(row.c + j, row.c_prev != nullptr ? row.c_prev + j : nullptr, j_end - j);
        }
        if (row.y != nullptr) fill_zero(row.y + j, j_end - j);
      }
    }
  }
}

template <class T>
struct ForwardBuffers {
  T* packed[2];  // per direction
  T* zeros;      // [H]
  T* pre[2];     // by units: x products, [N T, blocks of kInputs vectors]
  T* h[2];       // by units: [2, N, h_row]; by samples: of all chunks
  T* x[2];       // by samples: [N, x_row]
  int64_t h_row, x_row, pre_row;
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
  b.pre_row = layer.blocks * Cell::kInputs * Vec<T>::kLanes;
  // A single step packs, uses and forgets one block after the other.
  b.packed_blocks = a.steps > 1 ? layer.blocks : max_workers();
  b.zeros = arena.take<T>(a.hidden);
  for (int d = 0; d < directions; ++d) {
    if (a.packed == nullptr) b.packed[d] = arena.take<T>(b.packed_blocks * layer.block_size());
    if (a.steps > 1) b.h[d] = arena.take<T>(2 * a.batch * b.h_row);
    if (cut.by_units) {
      if (a.steps > 1) b.pre[d] = arena.take<T>(a.batch * a.steps * b.pre_row);
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
  parallel_for(layer.blocks, work, [&](int64_t block, int worker) {
    const int64_t at = a.packed != nullptr ? block : worker;
    if (a.packed == nullptr) pack_units<Cell>(a, layer, block, at);
    step_units(a, layer, at, block, block + 1, step);
  });
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
      const RecurrentArgs& a = layers[d];
      constexpr int64_t kColumns = Cell::kInputs * Vec<T>::kLanes;
      for (int64_t block = from; block < to; ++block) {
        if (!packed) pack_units<Cell>(a, layer, block, block);
        multiply_block(BlockProduct<T>{.rows = a.batch * a.steps,
                                       .k = a.input,
                                       .a = static_cast<const T*>(a.x),
                                       .a_row = a.input,
                                       .b = layer.weight_ih(block),
                                       .columns = kColumns,
                                       .c = b.pre[d] + block * kColumns,
                                       .c_row = b.pre_row,
                                       .accumulate = false,
                                       .bias = layer.bias(block)});
      }
    });
    for (int64_t s = 0; s < layers[0].steps; ++s) {
      if (s > 0) team.barrier();
      for_parts([&](int d, const PackedLayer<Cell>& layer, int64_t from, int64_t to) {
        const RecurrentArgs& a = layers[d];
        Step<T> step{};
        step.s = s;
        step.rows = a.batch;
        step.idle = s >= most;
        step.pre = b.pre[d];
        step.pre_row = b.pre_row;
        set_states(a, b, d, 0, step);
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
