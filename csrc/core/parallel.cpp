// The thread pool: started at the first large loop, spins briefly and then sleeps between loops,
// forgets its threads in a forked child, and runs a loop serially when another thread is using the
// pool.
#include "core/parallel.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "core/denormals.h"
#include "core/status.h"
#include "medkern/runtime.h"

namespace medkern {
namespace {

constexpr int kMostThreads = 256;
// Below about this many operations waking a second thread costs more than it saves.
constexpr int64_t kSerialWork = 32768;
constexpr auto kSpinTime = std::chrono::microseconds(30);

void pause_briefly() {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

// A positive number from the environment, or `otherwise`.
int environment_count(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr) return otherwise;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  return end != text && value > 0 && value <= kMostThreads ? static_cast<int>(value) : otherwise;
}

int processors_allowed() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count > 0 ? static_cast<int>(count) : 1;
}

// The control group's CPU quota, rounded up to whole processors, or `otherwise` where there is
// none.
int quota_count(int otherwise) {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (file >> quota >> period && quota > 0 && period > 0) {
    const int count = static_cast<int>((quota + period - 1) / period);
    if (count > 0 && count < otherwise) return count;
  }
  return otherwise;
}

int initial_thread_count() {
  int count = processors_allowed();
  count = quota_count(count);
  count = environment_count("OMP_NUM_THREADS", count);
  count = environment_count("MEDKERN_NUM_THREADS", count);
  return count < kMostThreads ? count : kMostThreads;
}

// True on a thread that is running tasks: a loop started there runs serially.
thread_local bool inside_loop = false;

class Pool {
 public:
  int count() const { return count_.load(std::memory_order_relaxed); }

  void set_count(int count) {
    std::lock_guard<std::mutex> use(use_);
    stop_workers();
    count_ = count;
  }

  // False if another thread is using the pool.
  bool try_run(int64_t tasks, void (*body)(void*, int64_t, int), void* context) {
    std::unique_lock<std::mutex> use(use_, std::try_to_lock);
    if (!use.owns_lock()) return false;
    start_workers();
    body_ = body;
    context_ = context;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(sleep_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take_tasks(0);
    while (busy_.load(std::memory_order_acquire) != 0) pause_briefly();
    return true;
  }

 private:
  void take_tasks(int worker) {
    inside_loop = true;
    for (;;) {
      const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks_) break;
      body_(context_, task, worker);
    }
    inside_loop = false;
  }

  void start_workers() {
    const int wanted = count() - 1;
    while (static_cast<int>(workers_.size()) < wanted) {
      const int worker = static_cast<int>(workers_.size()) + 1;
      const uint64_t seen = generation_.load();
      try {
        workers_.emplace_back([this, worker, seen] { work(worker, seen); });
      } catch (const std::exception&) {
        break;  // the system gives no more threads: go on with those there are
      }
    }
  }

  void stop_workers() {
    if (workers_.empty()) return;
    stopping_ = true;
    {
      std::lock_guard<std::mutex> lock(sleep_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& thread : workers_) thread.join();
    workers_.clear();
    stopping_ = false;
  }

  void work(int worker, uint64_t seen) {
    DenormalsFlushed flushed;
    for (;;) {
      wait_for_generation_after(seen);
      seen = generation_.load(std::memory_order_acquire);
      if (stopping_) return;
      take_tasks(worker);
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  void wait_for_generation_after(uint64_t seen) {
    const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
    while (std::chrono::steady_clock::now() < deadline) {
      if (generation_.load(std::memory_order_acquire) != seen) return;
      pause_briefly();
    }
    std::unique_lock<std::mutex> lock(sleep_);
    wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
  }

  std::mutex use_;  // held by the thread whose loop is running
  std::mutex sleep_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<int> busy_{0};
  std::atomic<int> count_{initial_thread_count()};
  std::atomic<bool> stopping_{false};
  void (*body_)(void*, int64_t, int) = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
};

Pool* instance = nullptr;

// A forked child has none of the parent's threads: it starts over with a new pool. The old one is
// left as it is, for its threads can't be joined.
void start_over_in_child() {
  const int count = instance->count();
  instance = new Pool;
  instance->set_count(count);
  inside_loop = false;
}

// Never destroyed: a loop may run while the interpreter exits.
Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    instance = new Pool;
    pthread_atfork(nullptr, nullptr, start_over_in_child);
  });
  return *instance;
}

}  // namespace

int max_workers() { return pool().count(); }

void detail::run_tasks(int64_t tasks, int64_t work, void (*body)(void*, int64_t, int),
                       void* context) {
  const bool serial = tasks <= 1 || work < kSerialWork || inside_loop || pool().count() == 1;
  if (!serial && pool().try_run(tasks, body, context)) return;
  for (int64_t task = 0; task < tasks; ++task) body(context, task, 0);
}

}  // namespace medkern

using namespace medkern;

extern "C" int32_t mk_get_num_threads(void) { return pool().count(); }

extern "C" mk_status mk_set_num_threads(int32_t count) {
  return guarded([&] {
    require(count >= 1 && count <= kMostThreads, "set_num_threads: count must be from 1 to ",
            kMostThreads, ", got ", count);
    pool().set_count(count);
  });
}
