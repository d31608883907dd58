#include "cuda/emulator/work.h"

#include <chrono>
#include <set>

#include "cuda/emulator/memory.h"

namespace medkern::cuda::emulator {
namespace {

constexpr size_t kMostQueued = 256;  // tasks of a stream; then the first runs unasked

std::set<Queue*>& queues() {
  static auto* all = new std::set<Queue*>;
  return *all;
}

Queue& default_queue() {
  static Queue* one = [] {
    auto* made = new Queue;
    queues().insert(made);
    return made;
  }();
  return *one;
}

struct Failure {
  Status status = kSuccess;
  std::string report;
};
// Never destroyed: work may be queued when the process ends.
Failure& of_work = *new Failure;        // not told yet
std::string& words = *new std::string;  // of the error that was told last
Status words_of = kSuccess;             // which one that was
thread_local Status of_call;            // the thread's last error

void run_first(Queue& queue) {
  const Task task = std::move(queue.tasks.front());
  queue.tasks.pop_front();
  std::string report;
  const Status status = task(report);
  if (status != kSuccess && of_work.status == kSuccess) of_work = {status, report};
}

const char* name_of(Status status) {
  switch (status) {
    case kSuccess:
      return "no error";
    case kInvalidValue:
      return "invalid argument";
    case kOutOfMemory:
      return "out of memory";
    case kInvalidConfiguration:
      return "invalid configuration argument";
    case kInvalidDevice:
      return "invalid device ordinal";
    case kInvalidHandle:
      return "invalid resource handle";
    case kSymbolNotFound:
      return "named symbol not found";
    case kNotReady:
      return "device not ready";
    case kIllegalAddress:
      return "an illegal memory access was encountered";
    case kOutOfResources:
      return "too many resources requested for launch";
    case kMisaligned:
      return "misaligned address";
    case kLaunchFailure:
      return "unspecified launch failure";
    case kTooManyBlocks:
      return "too many blocks in cooperative launch";
    case kCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case kCaptureUnmatched:
      return "stream is not being captured";
    default:
      return "unknown error";
  }
}

}  // namespace

std::recursive_mutex mutex;
std::atomic<uint64_t> waits{0};

Graph::~Graph() {
  std::string report;
  for (void* begin : memory) free_memory(begin, false, report);
}

Queue& queue_of(Stream stream) {
  return stream == nullptr ? default_queue() : *static_cast<Queue*>(stream);
}

void enqueue(Queue& queue, Task task) {
  if (queue.capture != nullptr) {
    queue.capture->tasks.push_back(std::move(task));
    return;
  }
  queue.tasks.push_back(std::move(task));
  if (queue.tasks.size() > kMostQueued) run_first(queue);
}

void drain(Queue& queue) {
  while (!queue.tasks.empty()) run_first(queue);
}

void drain_all() {
  default_queue();
  for (Queue* queue : queues()) drain(*queue);
}

void drain_until(const std::shared_ptr<Mark>& mark) {
  while (!mark->passed && !mark->queue->tasks.empty()) run_first(*mark->queue);
}

Status take_work_error() {
  const Failure failure = std::move(of_work);
  of_work = {};
  return result(failure.status, failure.report);
}

Status result(Status status, std::string report) {
  if (status == kSuccess) return status;
  of_call = status;
  words_of = status;
  words = std::move(report);
  return status;
}

}  // namespace medkern::cuda::emulator

namespace {

using namespace medkern::cuda;
using namespace medkern::cuda::emulator;

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

using Lock = std::lock_guard<std::recursive_mutex>;

}  // namespace

// ---------------------------------------------------------------- errors

MK_EXPORT const char* cudaGetErrorString(Status status) {
  const Lock lock(mutex);
  // Kept for the thread, as the caller reads it after the lock is gone.
  thread_local std::string text;
  text = name_of(status);
  if (status != kSuccess && status == words_of && !words.empty()) text += ": " + words;
  return text.c_str();
}
MK_EXPORT Status cudaGetLastError() {
  const Status last = of_call;
  of_call = kSuccess;
  return last;
}
MK_EXPORT Status cudaPeekAtLastError() { return of_call; }

// ---------------------------------------------------------------- streams

MK_EXPORT Status cudaStreamCreateWithFlags(Stream* stream, unsigned) {
  const Lock lock(mutex);
  auto* made = new Queue;
  queues().insert(made);
  *stream = made;
  return kSuccess;
}
MK_EXPORT Status cudaStreamDestroy(Stream stream) {
  const Lock lock(mutex);
  auto* queue = static_cast<Queue*>(stream);
  if (queues().count(queue) == 0) return result(kInvalidHandle);
  drain(*queue);
  queues().erase(queue);
  delete queue;
  return kSuccess;
}
MK_EXPORT Status cudaStreamSynchronize(Stream stream) {
  const Lock lock(mutex);
  Queue& queue = queue_of(stream);
  if (queue.capture != nullptr) return result(kCaptureUnsupported);
  ++waits;
  drain(queue);
  return take_work_error();
}
// What is asked for often enough comes to pass.
MK_EXPORT Status cudaStreamQuery(Stream stream) {
  const Lock lock(mutex);
  Queue& queue = queue_of(stream);
  if (queue.capture != nullptr) return result(kCaptureUnsupported);
  if (!queue.tasks.empty()) {
    run_first(queue);
    return kNotReady;
  }
  return take_work_error();
}
MK_EXPORT Status cudaDeviceSynchronize() {
  const Lock lock(mutex);
  ++waits;
  drain_all();
  return take_work_error();
}

// ---------------------------------------------------------------- events

MK_EXPORT Status cudaEventCreateWithFlags(Event* event, unsigned) {
  *event = new EventRecord;
  return kSuccess;
}
MK_EXPORT Status cudaEventDestroy(Event event) {
  const Lock lock(mutex);
  delete static_cast<EventRecord*>(event);
  return kSuccess;
}
MK_EXPORT Status cudaEventRecord(Event event, Stream stream) {
  const Lock lock(mutex);
  Queue& queue = queue_of(stream);
  auto mark = std::make_shared<Mark>();
  mark->queue = &queue;
  mark->capture = queue.capture;
  static_cast<EventRecord*>(event)->mark = mark;
  if (queue.capture == nullptr) {
    enqueue(queue, [mark](std::string&) {
      mark->passed = true;
      mark->seconds = now();
      return kSuccess;
    });
  }
  return kSuccess;
}
MK_EXPORT Status cudaStreamWaitEvent(Stream stream, Event event, unsigned) {
  const Lock lock(mutex);
  Queue& queue = queue_of(stream);
  const std::shared_ptr<Mark> mark = static_cast<EventRecord*>(event)->mark;
  if (mark == nullptr) return kSuccess;
  if (mark->capture != nullptr) {
    // The stream joins the capture, whose work keeps the order it came in.
    queue.capture = mark->capture;
  } else if (queue.capture == nullptr && mark->queue != &queue) {
    enqueue(queue, [mark](std::string&) {
      drain_until(mark);
      return kSuccess;
    });
  }
  return kSuccess;
}
MK_EXPORT Status cudaEventSynchronize(Event event) {
  const Lock lock(mutex);
  const std::shared_ptr<Mark> mark = static_cast<EventRecord*>(event)->mark;
  if (mark == nullptr) return kSuccess;
  if (mark->capture != nullptr) return result(kCaptureUnsupported);
  ++waits;
  drain_until(mark);
  return take_work_error();
}
MK_EXPORT Status cudaEventQuery(Event event) {
  const Lock lock(mutex);
  const std::shared_ptr<Mark> mark = static_cast<EventRecord*>(event)->mark;
  if (mark == nullptr || mark->passed) return kSuccess;
  if (!mark->queue->tasks.empty()) run_first(*mark->queue);
  return kNotReady;
}
MK_EXPORT Status cudaEventElapsedTime(float* milliseconds, Event begin, Event end) {
  const Lock lock(mutex);
  const auto first = static_cast<EventRecord*>(begin)->mark;
  const auto last = static_cast<EventRecord*>(end)->mark;
  if (first == nullptr || last == nullptr) return result(kInvalidHandle);
  if (!first->passed || !last->passed) return result(kNotReady);
  *milliseconds = static_cast<float>((last->seconds - first->seconds) * 1e3);
  return kSuccess;
}

// ---------------------------------------------------------------- graphs

MK_EXPORT Status cudaStreamBeginCapture(Stream stream, int) {
  const Lock lock(mutex);
  Queue& queue = queue_of(stream);
  if (stream == nullptr || queue.capture != nullptr) return result(kCaptureUnsupported);
  queue.capture = std::make_shared<Graph>();
  return kSuccess;
}
MK_EXPORT Status cudaStreamEndCapture(Stream stream, GraphHandle* graph) {
  const Lock lock(mutex);
  const std::shared_ptr<Graph> captured = queue_of(stream).capture;
  if (captured == nullptr) return result(kCaptureUnmatched);
  for (Queue* queue : queues()) {
    if (queue->capture == captured) queue->capture = nullptr;
  }
  *graph = new std::shared_ptr<Graph>(captured);
  return kSuccess;
}
MK_EXPORT Status cudaStreamIsCapturing(Stream stream, int* status) {
  const Lock lock(mutex);
  *status = queue_of(stream).capture != nullptr;
  return kSuccess;
}
MK_EXPORT Status cudaGraphInstantiate(GraphExec* made, GraphHandle graph, unsigned long long) {
  *made = new std::shared_ptr<Graph>(*static_cast<std::shared_ptr<Graph>*>(graph));
  return kSuccess;
}
MK_EXPORT Status cudaGraphLaunch(GraphExec graph, Stream stream) {
  const Lock lock(mutex);
  const auto kept = *static_cast<std::shared_ptr<Graph>*>(graph);
  enqueue(queue_of(stream), [kept](std::string& report) {
    Status first = kSuccess;
    for (const Task& task : kept->tasks) {
      std::string why;
      const Status status = task(why);
      if (status != kSuccess && first == kSuccess) first = status, report = why;
    }
    return first;
  });
  return kSuccess;
}
MK_EXPORT Status cudaGraphDestroy(GraphHandle graph) {
  const Lock lock(mutex);
  delete static_cast<std::shared_ptr<Graph>*>(graph);
  return kSuccess;
}
MK_EXPORT Status cudaGraphExecDestroy(GraphExec graph) {
  const Lock lock(mutex);
  delete static_cast<std::shared_ptr<Graph>*>(graph);
  return kSuccess;
}
