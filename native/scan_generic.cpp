#define MAMBAAD_GENERIC  // without intrinsics, for processors that no other variant is for
#include "instance_norm.hpp"
#include "scan_backward.hpp"

namespace mambaad {
const Kernels kernels_generic{"generic", lanes, forward, backward, moments, normalise_silu,
                              exp2_products, softpluses, silus};
}
