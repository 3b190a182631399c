// The CUDA kernels as functions of a grid and of pointers to their arguments, on a CPU.
#include <device.cuh>

#include <backward.cu>
#include <forward.cu>

#include <cstring>
#include <utility>

namespace {

template <class... Args, size_t... I>
void call(void (*kernel)(Args...), void** args, std::index_sequence<I...>) {
  kernel(*static_cast<Args*>(args[I])...);
}

template <class... Args>
bool run_if(const char* name, const char* wanted, void (*kernel)(Args...), void** args) {
  if (std::strcmp(name, wanted)) return false;
  program = [=] { call(kernel, args, std::index_sequence_for<Args...>()); };
  for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) run_warp();
  return true;
}

}  // namespace

// Whether there is such a kernel.
extern "C" bool launch(const char* name, int x, int y, int z, void** args) {
  gridDim = {x, y, z};
  return run_if("forward", name, forward, args) ||
         run_if("forward_kept", name, forward_kept, args) ||
         run_if("states_only", name, states_only, args) ||
         run_if("costates", name, costates, args) || run_if("backward", name, backward, args);
}
