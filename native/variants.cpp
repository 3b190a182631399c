// Which kernel variants this processor can run.
#include <stdexcept>

#include "kernels.hpp"

namespace mambaad {
namespace {

std::vector<const Kernels*> supported() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    found.push_back(&kernels_avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    found.push_back(&kernels_avx2);
#elif defined(__aarch64__)
  found.push_back(&kernels_neon);  // part of every such processor
#endif
  found.push_back(&kernels_generic);
  return found;
}

}  // namespace

std::vector<std::string> variants() {
  std::vector<std::string> names;
  for (const Kernels* kernels : supported()) names.push_back(kernels->name);
  return names;
}

const Kernels& kernels_of(const std::string& variant) {
  for (const Kernels* kernels : supported())
    if (variant == kernels->name) return *kernels;
  throw std::invalid_argument("no kernel variant '" + variant + "' on this processor");
}

}  // namespace mambaad
