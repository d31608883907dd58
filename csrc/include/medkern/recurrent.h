/* Recurrent layers: LSTM, GRU and plain RNN, whole sequences or a single step, one or two
 * directions. N batch, T steps, I input size, H hidden size, D directions. */
#ifndef MEDKERN_RECURRENT_H
#define MEDKERN_RECURRENT_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The cells, G gates each, in this order in the rows of weights and biases. With
 *   a = weight_ih x[t] + bias_ih        b = weight_hh h[t - 1] + bias_hh        s = sigmoid
 *
 * LSTM  i, f, g, o   i = s(a_i + b_i), f = s(a_f + b_f), g = tanh(a_g + b_g), o = s(a_o + b_o),
 *                    c[t] = f c[t - 1] + i g, h[t] = o tanh(c[t])
 * GRU   r, z, n      r = s(a_r + b_r), z = s(a_z + b_z), n = tanh(a_n + r b_n),
 *                    h[t] = (1 - z) n + z h[t - 1]
 * RNN   one          h[t] = tanh(a + b) or max(a + b, 0) */
typedef enum mk_recurrent_cell {
  MK_LSTM = 0,
  MK_GRU = 1,
  MK_RNN_TANH = 2,
  MK_RNN_RELU = 3
} mk_recurrent_cell;

/* A layer: what both passes read. Entry 0 of each pair is the direction from the first step to the
 * last; entry 1 runs from the last step (of each sample) to the first, and is read only if
 * directions is 2.
 *
 * A sample's state does not change, and y is 0, from its length on; values of x there (NaN too)
 * have no effect. A sample of length 0 ends in its initial state.
 *
 *   x          [N, T, I]   float32 or float64, dense: batch-major (contiguous) or time-major (T
 *                          varies slowest in memory)
 *   lengths    [N]         int64, each from 0 to T; NULL means T
 *   h0, c0     [D, N, H]   contiguous; NULL means 0. c0 is for LSTM only
 *   weight_ih  [G H, I]    contiguous, as are the following
 *   weight_hh  [G H, H]
 *   bias_ih    [G H]       NULL means 0
 *   bias_hh    [G H]       NULL means 0
 *
 * With single_step the layer is one step of one direction and axes T and D are left out everywhere:
 * x is [N, I], states and y are [N, H], saved is [N, S], lengths is NULL. */
typedef struct mk_recurrent_layer {
  size_t struct_size;
  int32_t cell;        /* an mk_recurrent_cell */
  int32_t directions;  /* 1 or 2 */
  int32_t single_step; /* not 0: see above */
  const DLTensor* x;
  const DLTensor* lengths;
  const DLTensor* h0;
  const DLTensor* c0;
  const DLTensor* weight_ih[2];
  const DLTensor* weight_hh[2];
  const DLTensor* bias_ih[2];
  const DLTensor* bias_hh[2];
  const void* packed;  /* what mk_recurrent_pack wrote, instead of weights and biases, which are */
  size_t packed_bytes; /* not read then; NULL and 0 if there is none. For the forward pass only */
} mk_recurrent_layer;

/* The weights and biases of a layer packed once for many forward passes. Of the layer only cell,
 * directions, single_step, weights and biases are read. `packed` is memory of the caller's, aligned
 * to 64 bytes; it keeps their sizes and dtype too, and serves the instruction set that was in use
 * when it was packed. Results have the same bits as with the weights themselves.
 *
 * Of weights on a CUDA device, `packed` (on the host) says only where they are: they have to stay
 * there, unchanged. */
MK_API mk_status mk_recurrent_packed_bytes(const mk_recurrent_layer* layer, size_t* bytes);
MK_API mk_status mk_recurrent_pack(const mk_recurrent_layer* layer, void* packed,
                                   size_t packed_bytes);

/* The shapes of the results of mk_recurrent_forward. Each is overwritten with as many sizes as the
 * result has axes.
 *   y      [3]
 *   state  [3]  of h_n and c_n
 *   saved  [4] */
MK_API mk_status mk_recurrent_output_shapes(const mk_recurrent_layer* layer, int64_t* y,
                                            int64_t* state, int64_t* saved);

/* The results.
 *   y      [N, T, D H]   h at every step, the directions side by side; columns are contiguous. NULL
 *                        with single_step, where it would be h_n
 *   h_n    [D, N, H]     h at each sample's own end; contiguous
 *   c_n    [D, N, H]     c there, for LSTM only; contiguous
 *   saved  [D, N, T, S]  what the backward pass needs; S is 5 H for LSTM, 4 H for GRU, H for RNN.
 *                        Each direction is dense in the order of x. NULL if there will be no
 *                        backward pass */
typedef struct mk_recurrent_results {
  size_t struct_size;
  DLTensor* y;
  DLTensor* h_n;
  DLTensor* c_n;
  DLTensor* saved;
} mk_recurrent_results;

/* Scratch bytes mk_recurrent_forward needs; results->saved says whether anything is saved. */
MK_API mk_status mk_recurrent_forward_workspace(const mk_recurrent_layer* layer,
                                                const mk_recurrent_results* results, size_t* bytes);
MK_API mk_status mk_recurrent_forward(const mk_recurrent_layer* layer,
                                      const mk_recurrent_results* results, void* workspace,
                                      size_t workspace_bytes);

/* Gradients of the results, which come in, and of the arguments, which are overwritten.
 *   dy          [N, T, D H]  columns are contiguous; not read from a sample's length on. NULL
 *                            means 0, and with single_step
 *   dh_n, dc_n  [D, N, H]    contiguous; NULL means 0
 *   dx          [N, T, I]    dense in the order of x; NULL if not wanted
 *   dh0, dc0    [D, N, H]    contiguous; dc0 for LSTM only
 *   dweight_ih, dweight_hh, dbias_ih, dbias_hh  shapes of the arguments, contiguous; each NULL if
 *                            not wanted */
typedef struct mk_recurrent_gradients {
  size_t struct_size;
  const DLTensor* dy;
  const DLTensor* dh_n;
  const DLTensor* dc_n;
  DLTensor* dx;
  DLTensor* dh0;
  DLTensor* dc0;
  DLTensor* dweight_ih[2];
  DLTensor* dweight_hh[2];
  DLTensor* dbias_ih[2];
  DLTensor* dbias_hh[2];
} mk_recurrent_gradients;

/* The backward pass. Of `results` it reads y (not with single_step) and saved. */
MK_API mk_status mk_recurrent_backward_workspace(const mk_recurrent_layer* layer, size_t* bytes);
MK_API mk_status mk_recurrent_backward(const mk_recurrent_layer* layer,
                                       const mk_recurrent_results* results,
                                       const mk_recurrent_gradients* gradients, void* workspace,
                                       size_t workspace_bytes);

#ifdef __cplusplus
}
#endif

#endif
