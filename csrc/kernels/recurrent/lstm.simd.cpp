// LSTM on the CPU: the gates. The loop over steps is in sequence.h.
//
//   i = s(a_i + b_i), f = s(a_f + b_f), g = tanh(a_g + b_g), o = s(a_o + b_o)
//   c = f c_prev + i g        h = o tanh(c)
// with a = weight_ih x + bias_ih, b = weight_hh h_prev + bias_hh, s(v) = 1 / (1 + exp(-v)).
//
// Saved for the backward pass: i, f, g, o, c.
#include "cpu/math.h"
#include "kernels/recurrent/sequence.h"

namespace medkern::MK_ISA {
namespace {

template <class T>
struct Lstm {
  using Scalar = T;
  static constexpr int64_t kGates = 4;
  static constexpr int64_t kSaved = 5;
  static constexpr int64_t kInputs = 4, kSlots = 4;
  static constexpr int64_t kInputGate[kInputs] = {0, 1, 2, 3};
  static constexpr bool own_hidden_bias(int64_t) { return false; }
  static constexpr bool kTwoGradients = false;

  // The row of c that step s began with; nullptr for zeros.
  MK_INLINE static const T* previous_cells(const RecurrentArgs& a, int64_t n, int64_t s,
                                           int64_t length) {
    if (s > 0) {
      const int64_t row = row_of(a, n, time_of(a, s - 1, length));
      return static_cast<const T*>(a.saved) + (row * kSaved + 4) * a.hidden;
    }
    return a.c0 != nullptr ? static_cast<const T*>(a.c0) + n * a.hidden : nullptr;
  }

  template <class Access>
  MK_INLINE static void forward(const ForwardRow<T>& r, int64_t j, Access access) {
    constexpr int64_t kLanes = Vec<T>::kLanes;
    const int64_t hidden = r.hidden;
    const Vec<T> i = sigmoid(Vec<T>::load(r.slots)), f = sigmoid(Vec<T>::load(r.slots + kLanes));
    const Vec<T> g = tanh(Vec<T>::load(r.slots + 2 * kLanes));
    const Vec<T> o = sigmoid(Vec<T>::load(r.slots + 3 * kLanes));
    const Vec<T> c_prev = r.c_prev != nullptr ? access.load(r.c_prev + j) : Vec<T>::zero();
    const Vec<T> c = fma(f, c_prev, i * g);
    const Vec<T> h = o * tanh(c);
    access.store(c, r.c + j);
    access.store(h, r.h + j);
    if (r.y != nullptr) access.store(h, r.y + j);
    if (r.saved == nullptr) return;
    access.store(i, r.saved + j);
    access.store(f, r.saved + hidden + j);
    access.store(g, r.saved + 2 * hidden + j);
    access.store(o, r.saved + 3 * hidden + j);
    access.store(c, r.saved + 4 * hidden + j);
  }

  template <class Access>
  MK_INLINE static void backward(const BackwardRows<T>& r, int64_t j, Access access) {
    const int64_t hidden = r.hidden;
    const Vec<T> one = T(1);
    const Vec<T> i = access.load(r.saved + j), f = access.load(r.saved + hidden + j);
    const Vec<T> g = access.load(r.saved + 2 * hidden + j);
    const Vec<T> o = access.load(r.saved + 3 * hidden + j);
    const Vec<T> tanh_c = tanh(access.load(r.saved + 4 * hidden + j));
    const Vec<T> c_prev = r.c_prev != nullptr ? access.load(r.c_prev + j) : Vec<T>::zero();
    Vec<T> dh = access.load(r.dh + j);
    if (r.dy != nullptr) dh += access.load(r.dy + j);
    const Vec<T> dc = access.load(r.dc + j) + dh * o * (one - tanh_c * tanh_c);
    const Vec<T> dgates[kGates] = {dc * g * i * (one - i), dc * c_prev * f * (one - f),
                                   dc * i * (one - g * g), dh * tanh_c * o * (one - o)};
    for (int64_t k = 0; k < kGates; ++k) {
      access.store(dgates[k], r.dgates_x + k * hidden + j);
      access.store(dgates[k], r.step + k * hidden + j);
    }
    access.store(dc * f, r.dc + j);
    access.store(Vec<T>::zero(), r.dh + j);
  }
};

}  // namespace

extern const RecurrentKernels lstm_kernels;
constinit const RecurrentKernels lstm_kernels = SequenceKernels<Lstm>::table;

}  // namespace medkern::MK_ISA
