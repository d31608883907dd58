// What the host sides of GEMM's CUDA kernels ask of each other.
#pragma once

#include "kernels/gemm/gemm.cuda.h"
#include "kernels/gemm/gemm.h"

namespace medkern::cuda {

// Products by warpgroups, on compute capability 9.0 (gemm_wgmma.cuda.cpp).
size_t wgmma_workspace(const GemmArgs& g);
void run_wgmma(const GemmArgs& g);

// The results of splits, from their partial sums (gemm.cuda.cpp).
void add_splits(const GemmReduceArgs& args, Dtype dtype);

}  // namespace medkern::cuda
