// The functions that each instruction set's translation unit provides.
#pragma once

#include "selective_scan.hpp"

namespace mambaad {

// One task's copy of the gradients that several tasks contribute to. The copies are added up after
// all tasks are done, always in the same order, so that the result does not depend on timing.
struct Partial {
  float* proj;                            // length, directions * (rank + 2 * states); added to
  float *dt_weight, *dt_bias, *A, *skip;  // as the parameters; overwritten
};

struct Kernels {
  const char* name;
  int lanes;
  // Of image `b`, channels `first` to `last - 1`; `first` is a multiple of `lanes`.
  void (*forward)(const Shape&, const Inputs&, float* y, float* carry, int64_t b, int64_t first,
                  int64_t last);
  void (*backward)(const Shape&, const Inputs&, const float* carry, const float* grad_y,
                   float* grad_u, const Partial&, int64_t b, int64_t first, int64_t last);
  // The two steps of instance_norm.hpp, on length x channels values.
  void (*moments)(int64_t length, int64_t channels, const float* x, float* mean, float* squares);
  void (*normalise_silu)(int64_t length, int64_t channels, float* x, const float* mean,
                         const float* scale);
  // 2^(a b), softplus(x) and silu(x) of `size` values, for the tests of their error bounds.
  void (*exp2_product)(int64_t size, const float* a, const float* b, float* y);
  void (*softplus)(int64_t size, const float* x, float* y);
  void (*silu)(int64_t size, const float* x, float* y);
};

extern const Kernels kernels_generic;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512;
#elif defined(__aarch64__)
extern const Kernels kernels_neon;
#endif

// Throws std::invalid_argument for a variant that is not among variants().
const Kernels& kernels_of(const std::string& variant);

}  // namespace mambaad
