#include "scan_backward.hpp"

namespace mambaad {
const Kernels kernels_avx512{"avx512", lanes, forward, backward,
                             exp2_products, softpluses};
}
