// In place of src/mambaad/ops/selective_scan/cuda/device.cuh: a warp on a CPU, so that the very
// kernels run where there is no GPU. Each lane is a coroutine; they take turns wherever the warp
// exchanges values or waits. A lane that comes to another such place than the others ends the
// program, a value that is read before its copy was waited for is a NaN.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <limits>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

using std::max;
using std::min;

constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int WARP = 32;

struct Place {
  int x = 0, y = 0, z = 0;
};
inline Place threadIdx, blockIdx, gridDim;

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct Copy {
  float* to;
  const float* from;
  int count;
  bool is_there;
};

struct Lane {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(1 << 18);
  std::deque<std::vector<Copy>> groups;
  std::vector<Copy> copies;
  bool is_done = false;
};
inline Lane lanes[WARP];
inline ucontext_t scheduler;
inline std::function<void()> program;
inline double slots[2][WARP];  // what each lane gives, of this exchange and the one before it
inline int places[2][WARP];    // and where it does
inline int turn = 0;           // of all lanes

inline void run_lane() {
  program();
  lanes[threadIdx.x].is_done = true;
}

// Give the other lanes their turn.
inline void meet(int place, double value = 0) {
  const int lane = threadIdx.x;
  slots[turn % 2][lane] = value, places[turn % 2][lane] = place;
  swapcontext(&lanes[lane].context, &scheduler);
}

// What a lane has given in the exchange that has just ended.
inline double given_by(int lane) { return slots[(turn + 1) % 2][lane % WARP]; }

// Run a program's lanes until all have ended.
inline void run_warp() {
  for (int i = 0; i < WARP; ++i) {
    Lane& lane = lanes[i];
    getcontext(&lane.context);
    lane.context.uc_stack.ss_sp = lane.stack.data();
    lane.context.uc_stack.ss_size = lane.stack.size();
    lane.context.uc_link = &scheduler;
    lane.is_done = false, lane.groups.clear(), lane.copies.clear();
    makecontext(&lane.context, run_lane, 0);
  }
  while (true) {
    int done = 0;
    for (int i = 0; i < WARP; ++i) {
      threadIdx.x = i;
      swapcontext(&scheduler, &lanes[i].context);
      done += lanes[i].is_done;
    }
    if (done == WARP) return;
    for (int i = 0; i < WARP; ++i)
      if (done || places[turn % 2][i] != places[turn % 2][0]) {
        std::fprintf(stderr, "the lanes of a warp part\n");
        std::abort();
      }
    ++turn;
  }
}

inline float exchange(float value, int from, int place) {
  meet(place, value);
  return float(given_by(from));
}
inline int exchange(int value, int from, int place) {
  meet(place, value);
  return int(given_by(from));
}
#define __shfl_sync(lanes_, value, from) exchange(value, from, __LINE__)
#define __shfl_xor_sync(lanes_, value, distance) \
  exchange(value, threadIdx.x ^ (distance), __LINE__)
#define __syncwarp() meet(__LINE__)

inline float fast_reciprocal(float x) { return 1 / x; }

inline void store(float* to, float value) { *to = value; }
inline void add(float* to, float value) { *to += value; }

inline float fast_exp2(float x) {
  const float y = std::exp2(x);
  return y < std::numeric_limits<float>::min() ? 0 : y;
}

template <class T>
inline T* row_at(T* first, int number, int bytes) {
  return first + int64_t(number) * (bytes / int(sizeof(T)));
}

template <int COUNT>
inline void copy_ahead(float* to, const float* from, bool is_there) {
  if (reinterpret_cast<uintptr_t>(to) % (4 * COUNT) ||
      (is_there && reinterpret_cast<uintptr_t>(from) % (4 * COUNT))) {
    std::fprintf(stderr, "a copy is not aligned\n");
    std::abort();
  }
  std::fill_n(to, COUNT, std::numeric_limits<float>::quiet_NaN());
  lanes[threadIdx.x].copies.push_back({to, from, COUNT, is_there});
}

inline void end_group() {
  Lane& lane = lanes[threadIdx.x];
  lane.groups.push_back(std::move(lane.copies));
  lane.copies.clear();
}

template <int LATEST>
inline void wait_for_groups() {
  Lane& lane = lanes[threadIdx.x];
  for (; lane.groups.size() > LATEST; lane.groups.pop_front())
    for (const Copy& copy : lane.groups.front())
      for (int i = 0; i < copy.count; ++i) copy.to[i] = copy.is_there ? copy.from[i] : 0;
  meet(__LINE__);
}
