// The passes over a sequence that all cells share, for *.simd.cpp files.
//
// A Cell is a struct with
//   Scalar             float or double
//   kGates             G: blocks of H rows in the weights
//   kSaved             S / H: values per hidden unit kept for the backward pass
//   kSlots             sums of gates per hidden unit, of which the first kInputs come from x, gate
//                      kInputGate[slot] in each, and the last kGates from h, in the gates' order
//   own_hidden_bias    whether bias_hh of a gate stays apart from bias_ih (GRU's last)
//   kTwoGradients      whether gradients of the gates differ between the input's and the hidden
//                      state's side (GRU)
//   forward, backward  one vector of hidden units of one sample at one step
#pragma once

#include "kernels/recurrent/backward.h"
#include "kernels/recurrent/forward.h"

namespace medkern::MK_ISA {
namespace {

// The kernels of a cell, for both data types.
template <template <class> class Cell>
struct SequenceKernels {
  static size_t packed_bytes(const RecurrentArgs& a) {
    return a.dtype == Dtype::f32 ? packed_bytes_of<Cell<float>>(a)
                                 : packed_bytes_of<Cell<double>>(a);
  }
  static void pack(const RecurrentArgs& a, void* packed) {
    a.dtype == Dtype::f32 ? pack_sequence<Cell<float>>(a, packed)
                          : pack_sequence<Cell<double>>(a, packed);
  }
  static size_t forward_workspace(const RecurrentArgs* a, int directions) {
    return a->dtype == Dtype::f32 ? sequence_forward_workspace<Cell<float>>(a, directions)
                                  : sequence_forward_workspace<Cell<double>>(a, directions);
  }
  static void forward(const RecurrentArgs* a, int directions) {
    a->dtype == Dtype::f32 ? sequence_forward<Cell<float>>(a, directions)
                           : sequence_forward<Cell<double>>(a, directions);
  }
  static size_t backward_workspace(const RecurrentArgs* a, int directions) {
    return a->dtype == Dtype::f32 ? sequence_backward_workspace<Cell<float>>(a, directions)
                                  : sequence_backward_workspace<Cell<double>>(a, directions);
  }
  static void backward(const RecurrentArgs* a, int directions) {
    a->dtype == Dtype::f32 ? sequence_backward<Cell<float>>(a, directions)
                           : sequence_backward<Cell<double>>(a, directions);
  }
  static constexpr RecurrentKernels table = {
      .packed_bytes = packed_bytes,
      .pack = pack,
      .forward_workspace = forward_workspace,
      .forward = forward,
      .backward_workspace = backward_workspace,
      .backward = backward,
  };
};

}  // namespace
}  // namespace medkern::MK_ISA
