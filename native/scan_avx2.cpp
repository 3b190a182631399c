#if defined(__x86_64__)  // a file of every build, so that one build can be for two processors
#include "instance_norm.hpp"
#include "scan_backward.hpp"

namespace mambaad {
const Kernels kernels_avx2{"avx2", lanes, forward, backward, moments, normalise_silu,
                           exp2_products, softpluses, silus};
}
#endif
