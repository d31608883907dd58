// Running one kernel on a grid of blocks, at once.
#pragma once

#include <string>

#include "cuda/cudart.h"
#include "cuda/emulator/device.h"
#include "cuda/emulator/work.h"

namespace medkern::cuda::emulator {

constexpr int kProcessors = 4;           // multiprocessors: few, so that grids stay small
constexpr uint32_t kResidentBlocks = 2;  // of a cooperative launch on each, at most
constexpr uint32_t kResidentThreads = 2048;

enum class Schedule : int;
void choose_schedule(Schedule chosen, uint32_t seed);

uint32_t resident_blocks(const KernelRecord& kernel, uint32_t threads, size_t shared_bytes);

// What is wrong with such a launch, before anything runs.
Status check_launch(const KernelRecord& kernel, Dim3 grid, Dim3 threads, size_t shared_bytes,
                    bool cooperative);
// Runs it to its end, under the schedule that is chosen. If it fails `report` says how.
Status run_launch(const KernelRecord& kernel, const void* args, Dim3 grid, Dim3 threads,
                  size_t shared_bytes, bool cooperative, std::string& report);

}  // namespace medkern::cuda::emulator
