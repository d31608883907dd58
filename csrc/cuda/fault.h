// Faults that kernels find in the values of tensors, above all indices out of range: the host can't
// look at them without waiting for the device. A kernel writes the number of its fault to
// fault_word(); synchronization looks there and fails with the text that belongs to the number.
#pragma once

#include <cstdint>

namespace medkern::cuda {

// Memory of the host that kernels write to; 0 means no fault.
uint32_t* fault_word();

// The number for "<op>: <argument> must be from low to high, ...": the same for every call with
// this op and argument, which are string literals; the text tells the latest range.
uint32_t fault_number(const char* op, const char* argument, int64_t low, int64_t high);

// Fails with MK_INVALID_ARGUMENT if a kernel has reported a fault, and forgets it. To be called
// when the device's work is done.
void expect_no_fault();

}  // namespace medkern::cuda
