#if defined(__aarch64__)  // a file of every build, so that one build can be for two processors
#include "instance_norm.hpp"
#include "scan_backward.hpp"

namespace mambaad {
const Kernels kernels_neon{"neon", lanes, forward, backward, moments, normalise_silu,
                           exp2_products, softpluses, silus};
}
#endif
