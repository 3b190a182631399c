#include "instance_norm.hpp"
#include "scan_backward.hpp"

namespace mambaad {
const Kernels kernels_generic{"generic", lanes, forward, backward, moments, normalise_silu,
                              exp2_products, softpluses, silus};
}
