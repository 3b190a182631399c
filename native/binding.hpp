// What the sources of the Python module mambaad._native share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace mambaad {

namespace nb = nanobind;

template <int dims>
using Array = nb::ndarray<float, nb::ndim<dims>, nb::c_contig, nb::device::cpu>;

template <class A>
void expect(const char* name, const A& array, std::initializer_list<int64_t> shape) {
  size_t i = 0;
  for (int64_t size : shape)
    if (int64_t(array.shape(i++)) != size)
      throw std::invalid_argument(std::string(name) + " does not have the expected shape");
}

// Adds 2^(a b), softplus(x) and silu(x) as the kernels compute them, for the tests of their
// error bounds.
void bind_math(nb::module_& m);

}  // namespace mambaad
