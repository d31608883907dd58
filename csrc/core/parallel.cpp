// The thread pool: started at the first large loop, spins briefly and then sleeps between loops,
// forgets its threads in a forked child, and runs a loop serially when another thread is using the
// pool.
#include "core/parallel.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "core/denormals.h"
#include "core/processors.h"
#include "core/status.h"
#include "medkern/runtime.h"

namespace medkern {
namespace {

constexpr int kMostThreads = 256;
// Below about this many operations waking a second thread costs more than it saves.
constexpr int64_t kSerialWork = 32768;
constexpr int kSpinsBeforeYield = 2000;
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

int initial_thread_count() {
  int count = quota_count("", processors_allowed());
  count = environment_count("OMP_NUM_THREADS", count);
  count = environment_count("MEDKERN_NUM_THREADS", count);
  return count < kMostThreads ? count : kMostThreads;
}

// True on a thread that is running tasks: a loop started there runs serially, as the same worker.
thread_local bool inside_loop = false;
thread_local int this_worker = 0;

// What max_workers() last said in the current C API call, 0 if it was not asked.
thread_local int promised_workers = 0;

class Pool {
 public:
  explicit Pool(int count) : count_(count) {}

  int count() const { return count_.load(std::memory_order_relaxed); }

  void set_count(int count) {
    std::lock_guard<std::mutex> use(use_);
    stop_workers();
    count_ = count;
  }

  // False if another thread is using the pool. At most `workers` threads take part.
  bool try_run(int64_t tasks, int workers, void (*body)(void*, int64_t, int), void* context) {
    std::unique_lock<std::mutex> use(use_, std::try_to_lock);
    if (!use.owns_lock()) return false;
    start_workers();
    body_ = body;
    context_ = context;
    tasks_ = tasks;
    limit_ = workers;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(sleep_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take_tasks(0);
    wait_for_workers();
    return true;
  }

 private:
  void take_tasks(int worker) {
    inside_loop = true;
    this_worker = worker;
    for (;;) {
      const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks_) break;
      body_(context_, task, worker);
    }
    inside_loop = false;
    this_worker = 0;
  }

  // Spins for as long as the last tasks usually take; then lets other threads have the processor,
  // for it may be the one a worker needs.
  void wait_for_workers() {
    for (int spins = 0; busy_.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < kSpinsBeforeYield) {
        pause_briefly();
      } else {
        std::this_thread::yield();
      }
    }
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
      if (worker < limit_) take_tasks(worker);
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
  std::atomic<int> count_;
  std::atomic<bool> stopping_{false};
  void (*body_)(void*, int64_t, int) = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  int limit_ = 0;
};

Pool* instance = nullptr;

// A forked child has none of the parent's threads: it starts over with a new pool. The old one is
// left as it is, for its threads can't be joined.
void start_over_in_child() {
  instance = new Pool(instance->count());
  inside_loop = false;
  this_worker = 0;
}

// Never destroyed: a loop may run while the interpreter exits.
Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    instance = new Pool(initial_thread_count());
    pthread_atfork(nullptr, nullptr, start_over_in_child);
  });
  return *instance;
}

}  // namespace

int max_workers() {
  if (promised_workers == 0) promised_workers = pool().count();
  return promised_workers;
}

void forget_promised_workers() { promised_workers = 0; }

void detail::run_tasks(int64_t tasks, int64_t work, void (*body)(void*, int64_t, int),
                       void* context) {
  const int workers = promised_workers != 0 ? promised_workers : pool().count();
  const bool serial = tasks <= 1 || work < kSerialWork || inside_loop || workers == 1;
  if (!serial && pool().try_run(tasks, workers, body, context)) return;
  for (int64_t task = 0; task < tasks; ++task) body(context, task, this_worker);
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
