// The table of pooling kernels of one instruction set.
#include "kernels/pool/pool.h"

namespace medkern::MK_ISA {

void max_forward(const MaxPoolArgs&);
void max_backward(const MaxPoolArgs&);
void average_forward(const AveragePoolArgs&);
void average_backward(const AveragePoolArgs&);
void scatter_add(const ScatterArgs&);
void scatter(const ScatterArgs&);
void gather(const ScatterArgs&);
bool in_tiles(const ScatterArgs&);
void spread(const ScatterArgs&);
void collect(const ScatterArgs&);

extern const PoolKernels pool_kernels;
constinit const PoolKernels pool_kernels = {
    .max_forward = max_forward,
    .max_backward = max_backward,
    .average_forward = average_forward,
    .average_backward = average_backward,
    .scatter_add = scatter_add,
    .scatter = scatter,
    .gather = gather,
    .in_tiles = in_tiles,
    .spread = spread,
    .collect = collect,
};

}  // namespace medkern::MK_ISA
