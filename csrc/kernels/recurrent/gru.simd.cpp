// GRU on the CPU: the gates. The loop over steps is in sequence.h.
//
//   r = s(a_r + b_r)        z = s(a_z + b_z)        n = tanh(a_n + r b_n)
//   h = (1 - z) n + z h_prev, computed as n + z (h_prev - n)
// with a = weight_ih x + bias_ih, b = weight_hh h_prev + bias_hh, s(v) = 1 / (1 + exp(-v)).
//
// Saved for the backward pass: r, z, n, b_n.
#include "cpu/math.h"
#include "kernels/recurrent/sequence.h"

namespace medkern::MK_ISA {
namespace {

template <class T>
struct Gru {
  using Scalar = T;
  static constexpr int64_t kGates = 3;
  static constexpr int64_t kSaved = 4;
  // a_n, a_r + b_r, a_z + b_z, b_n
  static constexpr int64_t kInputs = 3, kSlots = 4;
  static constexpr int64_t kInputGate[kInputs] = {2, 0, 1};
  static constexpr bool own_hidden_bias(int64_t gate) { return gate == 2; }
  static constexpr bool kTwoGradients = true;

  MK_INLINE static const T* previous_cells(const RecurrentArgs&, int64_t, int64_t, int64_t) {
    return nullptr;
  }

  template <class Access>
  MK_INLINE static void forward(const ForwardRow<T>& rows, int64_t j, Access access) {
    constexpr int64_t kLanes = Vec<T>::kLanes;
    const int64_t hidden = rows.hidden;
    const Vec<T> r = sigmoid(Vec<T>::load(rows.slots + kLanes));
    const Vec<T> z = sigmoid(Vec<T>::load(rows.slots + 2 * kLanes));
    const Vec<T> b_n = Vec<T>::load(rows.slots + 3 * kLanes);
    const Vec<T> n = tanh(fma(r, b_n, Vec<T>::load(rows.slots)));
    const Vec<T> h = fma(z, access.load(rows.h_prev + j) - n, n);
    access.store(h, rows.h + j);
    if (rows.y != nullptr) access.store(h, rows.y + j);
    if (rows.saved == nullptr) return;
    access.store(r, rows.saved + j);
    access.store(z, rows.saved + hidden + j);
    access.store(n, rows.saved + 2 * hidden + j);
    access.store(b_n, rows.saved + 3 * hidden + j);
  }

  template <class Access>
  MK_INLINE static void backward(const BackwardRows<T>& rows, int64_t j, Access access) {
    const int64_t hidden = rows.hidden;
    const Vec<T> one = T(1);
    const Vec<T> r = access.load(rows.saved + j), z = access.load(rows.saved + hidden + j);
    const Vec<T> n = access.load(rows.saved + 2 * hidden + j);
    const Vec<T> b_n = access.load(rows.saved + 3 * hidden + j);
    const Vec<T> h_prev = access.load(rows.h_prev + j);
    Vec<T> dh = access.load(rows.dh + j);
    if (rows.dy != nullptr) dh += access.load(rows.dy + j);
    const Vec<T> dn = dh * (one - z) * (one - n * n);
    const Vec<T> dz = dh * (h_prev - n) * z * (one - z);
    const Vec<T> dr = dn * b_n * r * (one - r);
    const Vec<T> dgates_x[kGates] = {dr, dz, dn}, dgates_h[kGates] = {dr, dz, dn * r};
    for (int64_t k = 0; k < kGates; ++k) {
      access.store(dgates_x[k], rows.dgates_x + k * hidden + j);
      access.store(dgates_h[k], rows.dgates_h + k * hidden + j);
      access.store(dgates_h[k], rows.step + k * hidden + j);
    }
    access.store(dh * z, rows.dh + j);
  }
};

}  // namespace

extern const RecurrentKernels gru_kernels;
constinit const RecurrentKernels gru_kernels = SequenceKernels<Gru>::table;

}  // namespace medkern::MK_ISA
