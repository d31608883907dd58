// Streams, events and graphs of CUDA devices.
#include <mutex>
#include <set>
#include <vector>

#include "core/status.h"
#include "cuda/devices.h"
#include "cuda/fault.h"
#include "cuda/runtime.h"

namespace medkern::cuda {
namespace {

// By device; a device that isn't there has its default stream.
std::vector<Stream>& streams() {
  thread_local std::vector<Stream> all;
  return all;
}

// What has been made here of one kind and not been destroyed. Anything else is refused: the runtime
// would follow any pointer.
class Made {
 public:
  explicit Made(const char* kind) : kind_(kind) {}
  void* add(void* handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    handles_.insert(handle);
    return handle;
  }
  void expect(void* handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (handles_.count(handle) == 0) refuse();
  }
  void remove(void* handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (handles_.erase(handle) == 0) refuse();
  }

 private:
  [[noreturn]] void refuse() const {
    fail(MK_INVALID_ARGUMENT, "CUDA: this is no ", kind_, " that medkern made, or it is destroyed");
  }

  const char* kind_;
  std::mutex mutex_;
  std::set<void*> handles_;
};
// Never destroyed: arrays may go when the process ends.
Made& made_streams = *new Made("stream");
Made& made_events = *new Made("event");
Made& made_graphs = *new Made("graph");

// An event for ordering, not for timing.
constexpr unsigned kUntimed = 2;

}  // namespace

void* create_stream() {
  Stream stream = nullptr;
  expect_success(runtime()->cudaStreamCreateWithFlags(&stream, kStreamNonBlocking), "stream");
  return made_streams.add(stream);
}

void destroy_stream(void* stream) {
  made_streams.expect(stream);
  synchronize_stream(stream);
  made_streams.remove(stream);
  if (current_stream() == stream) set_stream(nullptr);
  expect_success(runtime()->cudaStreamDestroy(stream), "stream");
}

void* current_stream() {
  const auto device = static_cast<size_t>(current_device());
  return device < streams().size() ? streams()[device] : nullptr;
}

void set_stream(void* stream) {
  const auto device = static_cast<size_t>(current_device());
  if (device >= streams().size()) streams().resize(device + 1, nullptr);
  streams()[device] = stream;
}

void synchronize_stream(void* stream) {
  expect_success(runtime()->cudaStreamSynchronize(stream), "work on the device");
  expect_no_fault();
}

void wait_for_stream(void* stream, void* other) {
  if (stream == other) return;
  Event event = nullptr;
  expect_success(runtime()->cudaEventCreateWithFlags(&event, kUntimed), "event");
  const Status recorded = runtime()->cudaEventRecord(event, other);
  const Status waits =
      recorded == kSuccess ? runtime()->cudaStreamWaitEvent(stream, event, 0) : recorded;
  runtime()->cudaEventDestroy(event);  // it lives on until the wait is over
  expect_success(waits, "order of streams");
}

void* create_event() {
  Event event = nullptr;
  expect_success(runtime()->cudaEventCreateWithFlags(&event, 0), "event");
  return made_events.add(event);
}

void destroy_event(void* event) {
  made_events.remove(event);
  expect_success(runtime()->cudaEventDestroy(event), "event");
}

void record_event(void* event) {
  made_events.expect(event);
  expect_success(runtime()->cudaEventRecord(event, current_stream()), "event");
}

float milliseconds_between(void* begin, void* end) {
  float milliseconds = 0;
  made_events.expect(begin);
  made_events.expect(end);
  expect_success(runtime()->cudaEventSynchronize(end), "event");
  expect_success(runtime()->cudaEventElapsedTime(&milliseconds, begin, end), "event");
  return milliseconds;
}

void begin_graph() {
  const Stream stream = current_stream();
  require(stream != nullptr, "mk_graph_begin: the current stream must be one of mk_stream_create");
  expect_success(runtime()->cudaStreamBeginCapture(stream, kCaptureThreadLocal), "graph");
}

void* end_graph() {
  GraphHandle graph = nullptr;
  expect_success(runtime()->cudaStreamEndCapture(current_stream(), &graph), "graph");
  GraphExec executable = nullptr;
  const Status status = runtime()->cudaGraphInstantiate(&executable, graph, 0);
  runtime()->cudaGraphDestroy(graph);
  expect_success(status, "graph");
  return made_graphs.add(executable);
}

void launch_graph(void* graph) {
  made_graphs.expect(graph);
  expect_success(runtime()->cudaGraphLaunch(graph, current_stream()), "graph");
}

void destroy_graph(void* graph) {
  made_graphs.remove(graph);
  expect_success(runtime()->cudaGraphExecDestroy(graph), "graph");
}

}  // namespace medkern::cuda
