#include "scan_backward.hpp"

namespace mambaad {
const Kernels kernels_generic{"generic", lanes, forward, backward,
                              exp2_products, softpluses};
}
