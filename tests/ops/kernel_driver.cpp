// Runs the kernels on what a file holds, for processors that Python does not run on here:
//     kernel_driver GIVEN RESULT
// GIVEN is a sequence of cases. A case is the 64-bit numbers kind, threads and six sizes, then
// float32 arrays (and, of a scan, the int32 order). RESULT has the arrays of every case's results.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../../native/flush_denormals.hpp"
#include "../../native/kernels.hpp"

using namespace mambaad;

namespace {

std::FILE *given, *result;

template <class T>
std::vector<T> read(int64_t count) {
  std::vector<T> values(count);
  if (std::fread(values.data(), sizeof(T), size_t(count), given) != size_t(count)) std::exit(3);
  return values;
}

void write(const std::vector<float>& values) {
  if (std::fwrite(values.data(), 4, values.size(), result) != values.size()) std::exit(4);
}

void scan(const std::string& variant, int threads, const Shape& s) {
  const int64_t map = s.batch * s.length * s.channels, per_channel = s.directions * s.channels;
  const auto u = read<float>(map), proj = read<float>(s.batch * s.length * s.rows()),
             dt_weight = read<float>(per_channel * s.rank), dt_bias = read<float>(per_channel),
             A = read<float>(per_channel * s.states), skip = read<float>(per_channel),
             grad_y = read<float>(map);
  const auto order = read<int32_t>(s.directions * s.length);
  const Inputs in{u.data(), proj.data(), dt_weight.data(), dt_bias.data(),
                  A.data(), skip.data(), order.data()};
  std::vector<float> y(map), carry(s.batch * per_channel * s.chunks() * s.states);
  selective_scan(variant, threads, s, in, y.data(), carry.data());
  std::vector<float> grads[] = {u, proj, dt_weight, dt_bias, A, skip};
  selective_scan_backward(variant, threads, s, in, carry.data(), grad_y.data(),
                          {grads[0].data(), grads[1].data(), grads[2].data(), grads[3].data(),
                           grads[4].data(), grads[5].data()});
  write(y);
  for (const auto& grad : grads) write(grad);
}

void elementary(const std::string& variant, int64_t size) {
  const Kernels& kernels = kernels_of(variant);
  const auto a = read<float>(size), b = read<float>(size);
  std::vector<float> y(size);
  const FlushDenormals flush;
  kernels.exp2_product(size, a.data(), b.data(), y.data());
  write(y);
  kernels.softplus(size, a.data(), y.data());
  write(y);
  kernels.silu(size, a.data(), y.data());
  write(y);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  given = std::fopen(arguments[1], "rb");
  result = std::fopen(arguments[2], "wb");
  if (!given || !result) return 2;
  const std::string variant = variants().front();
  std::puts(variant.c_str());
  int64_t head[8];
  while (std::fread(head, 8, 8, given) == 8) {
    const int threads = int(head[1]);
    const Shape s{head[2], head[3], head[4], head[5], head[6], head[7]};
    if (head[0] == 0) {
      scan(variant, threads, s);
    } else if (head[0] == 1) {
      elementary(variant, s.batch);
    } else {
      auto x = read<float>(s.batch * s.length * s.channels);
      instance_norm_silu(variant, threads, s.batch, s.length, s.channels, x.data());
      write(x);
    }
  }
  return std::fclose(result) == 0 ? 0 : 4;
}
