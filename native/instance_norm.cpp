// How the work of the instance norm is divided among threads.
#include <algorithm>
#include <cmath>

#include "flush_denormals.hpp"
#include "kernels.hpp"
#include "thread_pool.hpp"

namespace mambaad {

void instance_norm_silu(const std::string& variant, int threads, int64_t batch, int64_t length,
                        int64_t channels, float* x) {
  constexpr int64_t worth_a_thread = 1 << 15;  // values
  const Kernels& kernels = kernels_of(variant);
  if (length == 0) return;
  const int64_t most = std::max<int64_t>(1, length * channels / worth_a_thread);
  const int64_t parts = batch >= threads ? 1 : std::min<int64_t>({threads, length, most});
  const auto first = [&](int64_t part) { return part * length / parts; };
  std::vector<float> mean(batch * parts * channels), scale(batch * parts * channels);
  const int workers = batch * length * channels < 2 * worth_a_thread ? 1 : threads;

  parallel_for(batch * parts, workers, [&](int64_t task) {
    const FlushDenormals flush;
    const int64_t begin = first(task % parts), end = first(task % parts + 1);
    kernels.moments(end - begin, channels, x + (task / parts * length + begin) * channels,
                    &mean[task * channels], &scale[task * channels]);
  });
  // The parts' moments put together (Chan, Golub and LeVeque 1983); the first part's place keeps
  // the image's mean and factor.
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t c = 0; c < channels; ++c) {
      float& m = mean[b * parts * channels + c];
      float& s = scale[b * parts * channels + c];
      for (int64_t part = 1; part < parts; ++part) {
        const float before = float(first(part)), added = float(first(part + 1)) - before;
        const float delta = mean[(b * parts + part) * channels + c] - m;
        m += delta * added / (before + added);
        s += scale[(b * parts + part) * channels + c] +
             delta * delta * before * added / (before + added);
      }
      s = 1.0f / std::sqrt(s / float(length) + 1e-5f);
    }
  parallel_for(batch * parts, workers, [&](int64_t task) {
    const FlushDenormals flush;
    const int64_t begin = first(task % parts), end = first(task % parts + 1);
    const int64_t image = task / parts, at = image * parts * channels;
    kernels.normalise_silu(end - begin, channels, x + (image * length + begin) * channels,
                           &mean[at], &scale[at]);
  });
}

}  // namespace mambaad
