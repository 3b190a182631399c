// The Python module mambaad._native. It checks everything that would read or write outside an
// array; the rest is checked in Python, where the custom operator calls it.
#include <nanobind/stl/vector.h>

#include <array>

#include "binding.hpp"
#include "selective_scan.hpp"
#include "thread_pool.hpp"

using namespace mambaad;
using namespace nb::literals;

namespace {

using Order = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

Shape checked_shape(const Array<3>& u, const Array<3>& proj, const Array<3>& dt_weight,
                    const Array<2>& dt_bias, const Array<3>& A, const Array<2>& skip,
                    const Order& order) {
  const Shape s{int64_t(u.shape(0)), int64_t(u.shape(1)), int64_t(u.shape(2)),
                int64_t(A.shape(0)), int64_t(A.shape(2)), int64_t(dt_weight.shape(2))};
  expect("proj", proj, {s.batch, s.length, s.rows()});
  expect("dt_weight", dt_weight, {s.directions, s.channels, s.rank});
  expect("dt_bias", dt_bias, {s.directions, s.channels});
  expect("A", A, {s.directions, s.channels, s.states});
  expect("skip", skip, {s.directions, s.channels});
  expect("order", order, {s.directions, s.length});
  for (size_t i = 0; i < order.size(); ++i)
    if (order.data()[i] < 0 || order.data()[i] >= s.length)
      throw std::invalid_argument("order names a position outside the map");
  return s;
}

void forward(const std::string& variant, int threads, Array<3> u, Array<3> proj,
             Array<3> dt_weight, Array<2> dt_bias, Array<3> A, Array<2> skip, Order order,
             Array<3> y, Array<5> carry) {
  const Shape s = checked_shape(u, proj, dt_weight, dt_bias, A, skip, order);
  expect("y", y, {s.batch, s.length, s.channels});
  const bool keep = carry.shape(2) > 0;
  if (threads < 1) throw std::invalid_argument("threads must be at least 1");
  if (keep) expect("carry", carry, {s.batch, s.directions, s.chunks(), s.states, s.channels});
  const Inputs in{u.data(),  proj.data(), dt_weight.data(), dt_bias.data(),
                  A.data(), skip.data(), order.data()};
  nb::gil_scoped_release release;
  selective_scan(variant, threads, s, in, y.data(), keep ? carry.data() : nullptr);
}

void backward(const std::string& variant, int threads, Array<3> u, Array<3> proj,
              Array<3> dt_weight, Array<2> dt_bias, Array<3> A, Array<2> skip, Order order,
              Array<5> carry, Array<3> grad_y, Array<3> grad_u, Array<3> grad_proj,
              Array<3> grad_dt_weight, Array<2> grad_dt_bias, Array<3> grad_A,
              Array<2> grad_skip) {
  const Shape s = checked_shape(u, proj, dt_weight, dt_bias, A, skip, order);
  checked_shape(grad_u, grad_proj, grad_dt_weight, grad_dt_bias, grad_A, grad_skip, order);
  if (threads < 1) throw std::invalid_argument("threads must be at least 1");
  expect("grad_u", grad_u, {s.batch, s.length, s.channels});
  expect("grad_y", grad_y, {s.batch, s.length, s.channels});
  expect("carry", carry, {s.batch, s.directions, s.chunks(), s.states, s.channels});
  expect("grad_A", grad_A, {s.directions, s.channels, s.states});
  expect("grad_dt_weight", grad_dt_weight, {s.directions, s.channels, s.rank});
  const Inputs in{u.data(),  proj.data(), dt_weight.data(), dt_bias.data(),
                  A.data(), skip.data(), order.data()};
  const Gradients grad{grad_u.data(),       grad_proj.data(), grad_dt_weight.data(),
                       grad_dt_bias.data(), grad_A.data(),    grad_skip.data()};
  nb::gil_scoped_release release;
  selective_scan_backward(variant, threads, s, in, carry.data(), grad_y.data(), grad);
}

void instance_norm_silu_of(const std::string& variant, int threads, Array<3> x) {
  if (threads < 1) throw std::invalid_argument("threads must be at least 1");
  const auto [batch, length, channels] =
      std::array{int64_t(x.shape(0)), int64_t(x.shape(1)), int64_t(x.shape(2))};
  float* const data = x.data();
  nb::gil_scoped_release release;
  instance_norm_silu(variant, threads, batch, length, channels, data);
}

// No array is converted: results would be written into the converted copy, and lost.
template <class F, class... Names>
void define(nb::module_& m, const char* name, F function, Names... arrays) {
  m.def(name, function, "variant"_a, "threads"_a, nb::arg(arrays).noconvert()...);
}

}  // namespace

NB_MODULE(_native, m) {
  m.attr("CHUNK_LENGTH") = chunk_length;
  m.def("variants", &variants);
  m.def("with_openmp", &with_openmp);
  define(m, "forward", &forward, "u", "proj", "dt_weight", "dt_bias", "A", "skip", "order", "y",
         "carry");
  define(m, "backward", &backward, "u", "proj", "dt_weight", "dt_bias", "A", "skip", "order",
         "carry", "grad_y", "grad_u", "grad_proj", "grad_dt_weight", "grad_dt_bias", "grad_A",
         "grad_skip");
  define(m, "instance_norm_silu", &instance_norm_silu_of, "x");
  bind_math(m);
}
