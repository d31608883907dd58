/* What the machine's arithmetic can do at best: the yardstick of benchmarks. */
#ifndef MEDKERN_PEAK_H
#define MEDKERN_PEAK_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = x after `rounds` (0 to 2^31 - 1) times x <- x / 2 + 1, in registers: a multiply and an add
 * per element and round, and nothing else. Tensors of many elements take the threads in use. x, y
 * [any shape]  float32 or float64, contiguous; y may be x */
MK_API mk_status mk_fma_chain(const DLTensor* x, int64_t rounds, DLTensor* y);

#ifdef __cplusplus
}
#endif

#endif
