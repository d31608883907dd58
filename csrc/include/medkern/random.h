/* Random numbers from a counter: Philox 4x32 with 10 rounds (Salmon, Moraes, Dror and Shaw,
 * "Parallel random numbers: as easy as 1, 2, 3", 2011). Block number b of a seed is four 32-bit
 * words, the cipher of the counter (b low, b high, 0, 0) under the key (seed low, seed high): any
 * block can be had without those before it.
 *
 * Elements are numbered in the order of memory, so that a contiguous and a channels-last tensor of
 * the same shape get their numbers in different places. A float32 element (and an element of
 * dropout) takes one word, a float64 element two, low word first. Every function takes the number
 * of its first block in *offset and leaves there that of the first block after its last.
 *
 * The same seed and offset give the same bits at any number of threads and on every instruction
 * set. */
#ifndef MEDKERN_RANDOM_H
#define MEDKERN_RANDOM_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = low + (high - low) u with u = (word >> 8) / 2^24 for float32 and (two words >> 11) / 2^53 for
 * float64; below high, unless low equals it.
 *   y  any shape, float32 or float64, contiguous or channels-last; overwritten */
MK_API mk_status mk_random_uniform(uint64_t seed, uint64_t* offset, double low, double high,
                                   DLTensor* y);

/* y = mean + std z with z from the standard normal distribution, by Box and Muller: two uniform
 * numbers u, v give sqrt(-2 ln(1 - u)) times cos(2 pi v) and sin(2 pi v).
 *   y  any shape, float32 or float64, contiguous or channels-last; overwritten */
MK_API mk_status mk_random_normal(uint64_t seed, uint64_t* offset, double mean, double std,
                                  DLTensor* y);

/* y = x mask / (1 - p), where each element of mask is 0 with probability p, else 1: word >= p 2^32.
 * With p = 1 all is 0.
 *   x     any shape, float32 or float64 (CUDA: bfloat16 too), contiguous or channels-last
 *   y     as x, in the same memory format; may be x itself
 *   mask  as x, uint8, in the same memory format */
MK_API mk_status mk_dropout_forward(double p, uint64_t seed, uint64_t* offset, const DLTensor* x,
                                    DLTensor* y, DLTensor* mask);

/* dx = dy mask / (1 - p).
 *   dy    float32 or float64 (CUDA: bfloat16 too), contiguous or channels-last
 *   mask  shape of dy, uint8, contiguous or channels-last
 *   dx    as dy, in the same memory format; may be dy itself */
MK_API mk_status mk_dropout_backward(double p, const DLTensor* dy, const DLTensor* mask,
                                     DLTensor* dx);

#ifdef __cplusplus
}
#endif

#endif
