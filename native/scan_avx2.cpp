#include "scan_backward.hpp"

namespace mambaad {
const Kernels kernels_avx2{"avx2", lanes, forward, backward,
                           exp2_products, softpluses};
}
