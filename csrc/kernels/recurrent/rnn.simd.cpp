// Plain RNN on the CPU: its one gate. The loop over steps is in sequence.h.
//
//   h = tanh(a + b) or max(a + b, 0)
// with a = weight_ih x + bias_ih, b = weight_hh h_prev + bias_hh.
//
// Saved for the backward pass: h.
#include "cpu/math.h"
#include "kernels/recurrent/sequence.h"

namespace medkern::MK_ISA {
namespace {

template <class T, bool kRelu>
struct Rnn {
  using Scalar = T;
  static constexpr int64_t kGates = 1;
  static constexpr int64_t kSaved = 1;
  static constexpr int64_t kInputs = 1, kSlots = 1;
  static constexpr int64_t kInputGate[kInputs] = {0};
  static constexpr bool own_hidden_bias(int64_t) { return false; }
  static constexpr bool kTwoGradients = false;

  MK_INLINE static const T* previous_cells(const RecurrentArgs&, int64_t, int64_t, int64_t) {
    return nullptr;
  }

  template <class Access>
  MK_INLINE static void forward(const ForwardRow<T>& r, int64_t j, Access access) {
    const Vec<T> v = Vec<T>::load(r.slots);
    const Vec<T> h = kRelu ? max(v, Vec<T>::zero()) : tanh(v);
    access.store(h, r.h + j);
    if (r.y != nullptr) access.store(h, r.y + j);
    if (r.saved != nullptr) access.store(h, r.saved + j);
  }

  template <class Access>
  MK_INLINE static void backward(const BackwardRows<T>& r, int64_t j, Access access) {
    const Vec<T> h = access.load(r.saved + j);
    Vec<T> dh = access.load(r.dh + j);
    if (r.dy != nullptr) dh += access.load(r.dy + j);
    const Vec<T> dgate =
        kRelu ? select<T>(h.v <= T(0), Vec<T>::zero(), dh) : dh * (Vec<T>(T(1)) - h * h);
    access.store(dgate, r.dgates_x + j);
    access.store(dgate, r.step + j);
    access.store(Vec<T>::zero(), r.dh + j);
  }
};

template <class T>
using RnnTanh = Rnn<T, false>;
template <class T>
using RnnRelu = Rnn<T, true>;

}  // namespace

extern const RecurrentKernels rnn_relu_kernels;
constinit const RecurrentKernels rnn_relu_kernels = SequenceKernels<RnnRelu>::table;
extern const RecurrentKernels rnn_tanh_kernels;
constinit const RecurrentKernels rnn_tanh_kernels = SequenceKernels<RnnTanh>::table;

}  // namespace medkern::MK_ISA
