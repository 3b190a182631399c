#include "thread_pool.hpp"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if !defined(_WIN32)
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

class Pool {
 public:
  void run(int64_t count, int threads, const std::function<void(int64_t)>& task) {
    const int helpers = int(std::min<int64_t>(threads, count)) - 1;
    while (int(threads_.size()) < helpers)
      threads_.emplace_back([this, seen = round_]() mutable { serve(seen); });
    {
      std::lock_guard lock(mutex_);
      task_ = &task, count_ = count, next_ = 0, error_ = nullptr;
      wanted_ = working_ = helpers;
      ++round_;
    }
    wake_.notify_all();
    work();
    std::unique_lock lock(mutex_);
    working_ -= wanted_;  // who has not woken up by now need not
    wanted_ = 0;
    done_.wait(lock, [&] { return working_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void serve(uint64_t seen) {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return round_ != seen && wanted_ > 0; });
      seen = round_;
      --wanted_;
      lock.unlock();
      work();
      lock.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }

  void work() {
    for (int64_t i; (i = next_++) < count_;) {
      try {
        (*task_)(i);
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        next_ = count_;
      }
    }
  }

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  uint64_t round_ = 0;
  int wanted_ = 0, working_ = 0;
  const std::function<void(int64_t)>* task_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_{0};
  std::exception_ptr error_;
};

std::mutex pool_in_use;

}  // namespace

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& task) {
  std::unique_lock lock(pool_in_use, std::try_to_lock);
  if (!lock || threads <= 1 || count <= 1) {
    if (lock) lock.unlock();
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  // A forked child has the pool's memory but none of its threads: it leaves that pool be and
  // makes one of its own. The pool is never destroyed: at exit its threads just end.
  static Pool* pool = nullptr;
  static int64_t owner = -1;
  if (owner != process_id()) {
    pool = new Pool;
    owner = process_id();
  }
  pool->run(count, threads, task);
}

}  // namespace mambaad
