// The elementary functions of vec.hpp as functions of arrays: only tests call them.
#include "binding.hpp"
#include "flush_denormals.hpp"
#include "kernels.hpp"

namespace mambaad {

void bind_math(nb::module_& m) {
  using namespace nb::literals;
  using Values = Array<1>;
  m.def(
      "exp2_product",
      [](const std::string& variant, Values a, Values b, Values y) {
        const int64_t size = int64_t(a.size());
        expect("b", b, {size});
        expect("y", y, {size});
        const FlushDenormals flush;
        kernels_of(variant).exp2_product(size, a.data(), b.data(), y.data());
      },
      "variant"_a, "a"_a.noconvert(), "b"_a.noconvert(), "y"_a.noconvert());

  const auto define = [&](const char* name, auto function) {
    m.def(
        name,
        [function](const std::string& variant, Values x, Values y) {
          const int64_t size = int64_t(x.size());
          expect("y", y, {size});
          const FlushDenormals flush;
          (kernels_of(variant).*function)(size, x.data(), y.data());
        },
        "variant"_a, "x"_a.noconvert(), "y"_a.noconvert());
  };
  define("softplus", &Kernels::softplus);
  define("silu", &Kernels::silu);
}

}  // namespace mambaad
