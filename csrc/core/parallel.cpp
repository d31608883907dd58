// The thread pool: started at the first large loop, spins a while and then sleeps between loops,
// forgets its threads in a forked child, and runs a loop serially when another thread is using the
// pool.
#include "core/parallel.h"

#include <pthread.h>

#include <algorithm>
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
// Counters of different workers lie on different cache lines.
constexpr int kCountStride = 8;
constexpr int64_t kClosed = int64_t{1} << 32;
// To wake a sleeping thread takes tens of microseconds, as long as a layer of a small network; so
// threads stay awake over what a program does between two loops.
constexpr auto kSpinTime = std::chrono::microseconds(200);

void pause_briefly() {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

// Spins for as long as short tasks take, then lets other threads have the processor, for it may be
// the one that the awaited thread needs.
template <class Done>
void wait_until(Done done) {
  for (int spins = 0; !done(); ++spins) {
    if (spins < kSpinsBeforeYield) {
      pause_briefly();
    } else {
      std::this_thread::yield();
    }
  }
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

// The tasks of a loop that are meant for one worker: `next` up to `end`.
struct alignas(64) Share {
  std::atomic<int64_t> next;
  int64_t end;
};

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
    limit_ = workers;
    for (int i = 0; i < workers; ++i) {
      shares_[i].next.store(share_start(tasks, i, workers), std::memory_order_relaxed);
      shares_[i].end = share_start(tasks, i + 1, workers);
    }
    begin();
    take_part(0);
    end();
    return true;
  }

  // False likewise. Up to `workers` threads run `body` at the same time.
  bool try_run_team(int workers, void (*body)(void*, Team&), void* context) {
    std::unique_lock<std::mutex> use(use_, std::try_to_lock);
    if (!use.owns_lock()) return false;
    start_workers();
    team_body_ = body;
    context_ = context;
    const int there = static_cast<int>(workers_.size()) + 1;
    limit_ = workers < there ? workers : there;
    for (int i = 0; i < limit_; ++i) counts_[i * kCountStride].store(0, std::memory_order_relaxed);
    awaited_.store(limit_ - 1, std::memory_order_relaxed);
    begin();
    take_part(0);
    wait_until([&] { return awaited_.load(std::memory_order_acquire) == 0; });
    end();
    team_body_ = nullptr;
    return true;
  }

 private:
  // A loop is open to workers from begin() to end(). Who comes later finds it closed and is not
  // waited for: a thread that gets no processor in time delays nothing that is done without it.
  void begin() {
    ++loop_;
    gate_.fetch_sub(kClosed, std::memory_order_release);
    {
      std::lock_guard<std::mutex> lock(sleep_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }

  void end() {
    gate_.fetch_add(kClosed, std::memory_order_acq_rel);
    wait_until([&] { return gate_.load(std::memory_order_acquire) == kClosed; });
  }

  // Whether a worker came in time; if so, it must leave.
  bool join() {
    if (gate_.fetch_add(1, std::memory_order_acq_rel) < kClosed) return true;
    leave();
    return false;
  }

  void leave() { gate_.fetch_sub(1, std::memory_order_release); }

  void take_part(int worker) {
    inside_loop = true;
    this_worker = worker;
    if (team_body_ != nullptr) {
      Team team(worker, limit_, counts_);
      team_body_(context_, team);
      if (worker > 0) awaited_.fetch_sub(1, std::memory_order_release);
    } else {
      take_tasks(worker);
    }
    inside_loop = false;
    this_worker = 0;
  }

  // The first of the tasks that are meant for a worker; the odd ones go to those who come first.
  static int64_t share_start(int64_t tasks, int worker, int workers) {
    return tasks / workers * worker + std::min<int64_t>(tasks % workers, worker);
  }

  // First those that are meant for this worker, so that a loop run again, or the next loop over the
  // same things, finds them in the cache of its processor; then what others have not come to.
  void take_tasks(int worker) {
    for (int i = 0; i < limit_; ++i) {
      Share& share = shares_[(worker + i) % limit_];
      for (;;) {
        const int64_t task = share.next.fetch_add(1, std::memory_order_relaxed);
        if (task >= share.end) break;
        body_(context_, task, worker);
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
    int64_t last_loop = 0;
    for (;;) {
      wait_for_generation_after(seen);
      seen = generation_.load(std::memory_order_acquire);
      if (stopping_) return;
      if (!join()) continue;
      // Having come late to one loop, it may have met the next, before its own signal for that.
      if (loop_ != last_loop && worker < limit_) {
        last_loop = loop_;
        take_part(worker);
      }
      leave();
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
  std::atomic<int64_t> gate_{kClosed};  // workers inside, and kClosed more while no loop is open
  std::atomic<int> awaited_{0};         // workers of a team that have not finished
  std::atomic<int> count_;
  std::atomic<bool> stopping_{false};
  void (*body_)(void*, int64_t, int) = nullptr;
  void (*team_body_)(void*, Team&) = nullptr;  // instead of body_ where a team runs
  void* context_ = nullptr;
  int64_t loop_ = 0;  // the number of the loop; this and the above are fixed while it is open
  int limit_ = 0;
  Share shares_[kMostThreads];
  alignas(64) std::atomic<int64_t> counts_[kMostThreads * kCountStride];
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

void Team::barrier() {
  if (size_ == 1) return;
  ++passed_;
  counts_[worker_ * kCountStride].store(passed_, std::memory_order_release);
  for (int other = 0; other < size_; ++other) {
    const std::atomic<int64_t>& count = counts_[other * kCountStride];
    wait_until([&] { return count.load(std::memory_order_acquire) >= passed_; });
  }
}

void detail::run_team(int most, int64_t work, void (*body)(void*, Team&), void* context) {
  int workers = promised_workers != 0 ? promised_workers : pool().count();
  if (workers > most) workers = most;
  const bool alone = work < kSerialWork || inside_loop || workers <= 1;
  if (!alone && pool().try_run_team(workers, body, context)) return;
  Team team(0, 1, nullptr);
  body(context, team);
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
