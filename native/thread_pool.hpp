// Work on several threads: those that torch computes with, where they are available.
#pragma once

#include <cstdint>
#include <functional>

namespace mambaad {

// Calls task(0) .. task(count - 1), each once, on up to `threads` threads, this one included, and
// returns when all are done; the first exception of a task is thrown again here. While another
// caller is inside, the tasks run on this thread alone.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& task);

// Has a forked process use OpenMP too. Call it only where the process that forked had started no
// threads of OpenMP: a child waits for ever for threads that it has not inherited.
void with_openmp();

}  // namespace mambaad
