// Work of the device: what is queued on streams, and the errors it ends with.
//
// A stream does nothing until something waits for it: then its work runs in order, and so does that
// of other streams as far as it waits for theirs. So a wait that is missing shows, as memory
// that holds NaN or what was there before. A stream that is captured keeps its work for a graph.
//
// An error of queued work is told by the next call that waits, and then forgotten, so that one
// broken kernel doesn't fail every test that comes after it, as CUDA's would.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/cudart.h"

namespace medkern::cuda::emulator {

constexpr Status kInvalidValue = 1, kInvalidConfiguration = 9, kInvalidDevice = 101,
                 kInvalidHandle = 400, kSymbolNotFound = 500, kNotReady = 600,
                 kIllegalAddress = 700, kOutOfResources = 701, kMisaligned = 716,
                 kLaunchFailure = 719, kTooManyBlocks = 720, kCaptureUnsupported = 900,
                 kCaptureUnmatched = 903;

// Gives its status, and why in `report` if it isn't success.
using Task = std::function<Status(std::string& report)>;

struct Graph {
  std::vector<Task> tasks;
  std::vector<void*> memory;  // allocated by it
  ~Graph();
};

struct Queue {
  std::deque<Task> tasks;
  std::shared_ptr<Graph> capture;
};

// What an event recorded: a point in a stream's work.
struct Mark {
  Queue* queue;
  std::shared_ptr<Graph> capture;
  bool passed = false;
  double seconds = 0;
};

struct EventRecord {
  std::shared_ptr<Mark> mark;
};

// All calls of the emulator hold it.
extern std::recursive_mutex mutex;
// How often the host has waited for work: calls that do so whether or not there is any.
extern std::atomic<uint64_t> waits;

Queue& queue_of(Stream stream);
// Appends to the stream's work, or to the graph it is captured for.
void enqueue(Queue& queue, Task task);
// Runs the queue's work to its end.
void drain(Queue& queue);
void drain_all();
void drain_until(const std::shared_ptr<Mark>& mark);
// After waiting: the error of the work, which is forgotten.
Status take_work_error();

// A call's own result; an error is kept for cudaGetLastError and in words for cudaGetErrorString.
Status result(Status status, std::string report = "");

}  // namespace medkern::cuda::emulator

// The functions that stand in for the CUDA runtime's.
#define MK_EXPORT extern "C" __attribute__((visibility("default")))
