// What the scan's kernels need of the hardware: fast functions, addresses, and copies ahead into
// shared memory.
#pragma once

#ifdef __CUDACC_RTC__
typedef long long int64_t;
#else
#include <cstdint>
#endif

constexpr unsigned ALL_LANES = 0xffffffffu;

// 2^x to 2 units in the last place; a result below the normal numbers is 0.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x to 1 unit in the last place.
__device__ __forceinline__ float fast_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The same place `number` rows of so many bytes on, by one instruction.
template <class T>
__device__ __forceinline__ T* row_at(T* first, int number, int bytes) {
  T* place;
  asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(place) : "r"(number), "r"(bytes), "l"(first));
  return place;
}

// Store in, or add to, the device's memory: that a pointer which row_at gives points there, the
// compiler does not know.
__device__ __forceinline__ void store(float* to, float value) {
  asm volatile("st.global.f32 [%0], %1;" ::"l"(to), "f"(value) : "memory");
}
__device__ __forceinline__ void add(float* to, float value) {
  asm volatile("red.global.add.f32 [%0], %1;" ::"l"(to), "f"(value) : "memory");
}

// Begin to copy COUNT values, 1 or 4, to shared memory; zeros if they are not there.
template <int COUNT>
__device__ __forceinline__ void copy_ahead(float* to, const float* from, bool is_there) {
  const unsigned place = static_cast<unsigned>(__cvta_generic_to_shared(to));
  if constexpr (COUNT == 4) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from),
                 "r"(is_there ? 16 : 0));
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(place), "l"(from),
                 "r"(is_there ? 4 : 0));
  }
}

// End a group of copies.
__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;"); }

// Wait until all but the latest groups of copies are there, for every lane.
template <int LATEST>
__device__ __forceinline__ void wait_for_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LATEST) : "memory");
  __syncwarp();
}
