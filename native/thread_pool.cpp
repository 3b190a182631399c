#include "thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <dlfcn.h>
#include <unistd.h>
#endif

namespace mambaad {
namespace {

int64_t process_id() {
#if defined(_WIN32)
  return 0;  // no fork there
#else
  return getpid();
#endif
}

// The tasks 0 .. count - 1, handed out one by one to whichever threads call work().
class Tasks {
 public:
  Tasks(int64_t count, const std::function<void(int64_t)>& task) : count_(count), task_(task) {}

  void work() {
    for (int64_t i; (i = next_++) < count_;) {
      try {
        task_(i);
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        next_ = count_;
      }
    }
  }

  // Call it once all threads have returned from work().
  void rethrow() {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  int64_t count_;
  const std::function<void(int64_t)>& task_;
  std::atomic<int64_t> next_{0};
  std::mutex mutex_;
  std::exception_ptr error_;
};

// How GCC starts the threads of an OpenMP region: of GNU's runtime, and of Intel's and LLVM's.
using StartTeam = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);

// The OpenMP runtime that torch has loaded, or null. Its threads go on spinning for a while after
// each of torch's operations: threads of our own would have to share the cores with them.
StartTeam openmp() {
#if defined(_WIN32)
  return nullptr;
#else
  static const auto start = reinterpret_cast<StartTeam>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return start;
#endif
}

// Threads of our own, if there is no OpenMP or it must not be used.
class Pool {
 public:
  void run(Tasks& tasks, int helpers) {
    while (int(threads_.size()) < helpers)
      threads_.emplace_back([this, seen = round_]() mutable { serve(seen); });
    {
      std::lock_guard lock(mutex_);
      tasks_ = &tasks;
      wanted_ = working_ = helpers;
      ++round_;
    }
    wake_.notify_all();
    tasks.work();
    std::unique_lock lock(mutex_);
    working_ -= wanted_;  // threads that have not woken up by now need not
    wanted_ = 0;
    done_.wait(lock, [&] { return working_ == 0; });
  }

 private:
  void serve(uint64_t seen) {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return round_ != seen && wanted_ > 0; });
      seen = round_;
      --wanted_;
      lock.unlock();
      tasks_->work();
      lock.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  uint64_t round_ = 0;
  int wanted_ = 0, working_ = 0;
  Tasks* tasks_ = nullptr;
};

// Where this library was loaded, or that with_openmp() was called in.
std::atomic<int64_t> openmp_process = process_id();

std::mutex pool_in_use;

}  // namespace

void with_openmp() { openmp_process = process_id(); }

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& task) {
  std::unique_lock lock(pool_in_use, std::try_to_lock);
  if (!lock || threads <= 1 || count <= 1) {
    if (lock) lock.unlock();
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  Tasks tasks(count, task);
  const int team = int(std::min<int64_t>(threads, count));
  if (openmp() && process_id() == openmp_process) {
    openmp()([](void* all) { static_cast<Tasks*>(all)->work(); }, &tasks, unsigned(team), 0);
  } else {
    // A forked child has the memory of OpenMP's threads and of the pool's but not the threads: it
    // leaves both alone and makes a pool of its own. No pool is destroyed: at exit its threads end.
    static Pool* pool = nullptr;
    static int64_t owner = -1;
    if (owner != process_id()) {
      pool = new Pool;
      owner = process_id();
    }
    pool->run(tasks, team - 1);
  }
  tasks.rethrow();
}

}  // namespace mambaad
