// Recurrent layers on CUDA: what the host gives the device, and how a block's shared memory is laid
// out, which both must know.
#pragma once

#include "cuda/divide.h"
#include "cuda/types.h"

namespace medkern::cuda {

enum class RecurrentCell : int32_t { lstm, gru, rnn_tanh, rnn_relu };

constexpr int gates_of(RecurrentCell cell) {
  return cell == RecurrentCell::lstm ? 4 : cell == RecurrentCell::gru ? 3 : 1;
}
// Values per hidden unit kept for the backward pass.
constexpr int saved_of(RecurrentCell cell) {
  return cell == RecurrentCell::lstm ? 5 : cell == RecurrentCell::gru ? 4 : 1;
}
// Numbers per hidden unit that a step of the backward pass reads: those, the state before the step
// where a gradient depends on it, and dy.
constexpr int backward_slots_of(RecurrentCell cell) {
  return saved_of(cell) + (gates_of(cell) > 1 ? 2 : 1);
}

constexpr int kRecurrentWarps = 8;  // of a block; each sums an eighth of k
constexpr int kRecurrentThreads = 32 * kRecurrentWarps;
constexpr int kRecurrentChunk = 16;  // of k, staged at a time

// A block computes `rows` samples by `columns` sums.
struct RecurrentTile {
  int rows, columns;
  bool resident;  // keeps its weights in shared memory; else they pass through it at every step

  // Chunks of k under way at once.
  constexpr int stages() const { return rows <= 4 && resident ? 8 : rows <= 16 ? 4 : 2; }
  template <class T>
  static constexpr int vector() {
    return 16 / sizeof(T);
  }
  // Rows of a stage, and of partial sums, are padded so that lanes read different banks.
  template <class T>
  static constexpr int stage_row() {
    return kRecurrentChunk + vector<T>();
  }
  template <class T>
  constexpr int partial_row() const {
    return columns + 2 * vector<T>();
  }
  template <class T>
  constexpr int stage() const {
    return (rows + (resident ? 0 : columns)) * stage_row<T>();
  }
  // Elements a warp has to itself, for its stages and then for its partial sums.
  template <class T>
  constexpr int warp_elements() const {
    return stages() * stage<T>();
  }
  // k that a warp sums: whole vectors.
  template <class T>
  static constexpr int slice(int k) {
    const int eighth = (k + kRecurrentWarps - 1) / kRecurrentWarps;
    return (eighth + vector<T>() - 1) / vector<T>() * vector<T>();
  }
  template <class T>
  constexpr int weights_row(int k) const {
    return kRecurrentWarps * slice<T>(k) + vector<T>();
  }
  template <class T>
  constexpr int weights_elements(int k) const {
    return resident ? columns * weights_row<T>(k) : 0;
  }
  // `units` hidden units of a sample take `slots` numbers each from memory at every step, and keep
  // two states.
  template <class T>
  constexpr size_t bytes(int k, int units, int slots) const {
    const size_t weights = resident ? size_t(columns) * weights_row<T>(k) : 0;
    const size_t elements = weights + kRecurrentWarps * warp_elements<T>() +
                            size_t(rows) * units * (slots + 2) + columns;
    return (elements * sizeof(T) + 15) / 16 * 16;
  }
};

// What both passes have in common. Iterations first .. last of a pass are computed: by all blocks
// of one cooperative launch, or one in a launch.
//
// Blocks are numbered unit group by unit group, those of one task side by side. A task is a group
// of samples of a direction: its blocks wait for each other, not for those of other tasks.
struct RecurrentLoop {
  RecurrentCell cell;
  int32_t batch, steps, hidden;
  int32_t first, last;
  int64_t row_n, row_t;    // (n, t) is in row n row_n + t row_t of dense buffers
  const int64_t* lengths;  // or nullptr
  uint32_t first_task;
  Divider unit_groups, sample_groups;
  Divider units;      // hidden units of a block
  uint32_t* arrived;  // a counter per task, 0 at first; nullptr if blocks don't wait
};

// Of one direction.
struct RecurrentForwardSide {
  const void *x, *h0, *c0;  // h0, c0: nullptr for zeros
  const void *weight_ih, *weight_hh, *bias_ih, *bias_hh;
  const void* inputs;  // [N T, G H]: x weight_ih^T + bias_ih; nullptr if the kernel is to sum it
  void *y, *h_n, *c_n, *saved;
  void* state;  // [2, N, state_row]: h of two steps
};

struct RecurrentForwardArgs {
  RecurrentLoop loop;
  int32_t input;
  int32_t state_row;                   // H, in whole vectors; what is behind H is 0
  int64_t x_row;                       // elements from one sample's x to the next, of a single step
  int64_t y_n, y_t;                    // strides of y
  bool input_vectors, hidden_vectors;  // rows of x and weight_ih, of h0 and weight_hh are 16-byte
                                       // vectors throughout
  RecurrentForwardSide side[2];
};

struct RecurrentBackwardSide {
  const void *saved, *c0, *dy, *dh_n, *dc_n;  // c0 and later: nullptr for zeros
  const void* h_prev;                         // [N T, H]
  const void* weight;                         // [H, step_row]: weight_hh, transposed
  void *dh0, *dc0;
  void *dgates_x, *dgates_h;  // [N T, G H]; may be the same
  void* step;                 // [2, N, step_row]: the gradients of two steps' gates
};

// Iteration i takes dh through weight_hh from step T - i, and computes the gates of step T - 1 - i;
// there are T + 1.
struct RecurrentBackwardArgs {
  RecurrentLoop loop;
  int32_t step_row;  // G H, in whole vectors; what is behind G H is 0
  int64_t dy_n, dy_t;
  RecurrentBackwardSide side[2];
};

// to[j, r] = from[r, j]
struct RecurrentTransposeArgs {
  const void* from;
  void* to;
  int32_t rows, columns;
  int64_t to_row;
};

// The state that each step began with, and x, with zeros where a step is idle.
struct RecurrentGatherArgs {
  const void *h0, *y, *x;  // h0 may be nullptr, for zeros
  int64_t y_n, y_t;
  const int64_t* lengths;
  bool reverse, batch_major;
  uint32_t rows;
  int32_t steps, hidden, input;
  Divider inner;   // N or T, whichever varies faster from row to row
  void* h_prev;    // [N T, H]
  void* x_active;  // [N T, I] or nullptr
};

}  // namespace medkern::cuda
