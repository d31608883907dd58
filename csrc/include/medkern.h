/* medkern: neural-network kernels for medical imaging. The whole C API (C99).
 *
 * Letters   N batch, C channels, D H W depth, height, width; M N K matrix sizes; T steps, I input
 * size, H hidden size. The last axis varies fastest unless strides say otherwise. Tensors DLPack's
 * DLTensor. Shapes are NCW, NCHW or NCDHW. strides == NULL means C-contiguous; memory may also be
 * channels-last (NHWC in memory, NCHW in shape). Strides count elements. Outputs   come after
 * inputs, are allocated by the caller with the shape mk_<op>_output_shape gives, are overwritten,
 * and must not overlap an input unless the function says so. Memory    no function allocates
 * results; scratch memory is asked for with mk_<op>_workspace and passed in. Errors    every
 * function returns a status and never prints, aborts or throws. After a failure mk_last_error()
 * holds the reason, naming the argument, in the calling thread. Every argument is checked before
 * any memory is touched. Threads   every function may be called from any thread. The same inputs
 * give the same bits at any number of threads. Structs   descriptors start with struct_size, which
 * the caller sets to sizeof the struct.
 */
#ifndef MEDKERN_H
#define MEDKERN_H

#include "medkern/base.h"
#include "medkern/device.h"
#include "medkern/runtime.h"

#include "medkern/conv.h"
#include "medkern/copy.h"
#include "medkern/embedding.h"
#include "medkern/gemm.h"
#include "medkern/norm.h"
#include "medkern/optim.h"
#include "medkern/peak.h"
#include "medkern/pointwise.h"
#include "medkern/pool.h"
#include "medkern/random.h"
#include "medkern/recurrent.h"
#include "medkern/reduce.h"
#include "medkern/resample.h"
#include "medkern/resize.h"
#include "medkern/softmax.h"

#endif
