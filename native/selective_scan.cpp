// How the scan's work is divided among threads.
#include "selective_scan.hpp"

#include <algorithm>

#include "flush_denormals.hpp"
#include "kernels.hpp"
#include "thread_pool.hpp"

namespace mambaad {
namespace {

// The division of an image's channels: undivided where the images alone keep every thread busy,
// otherwise as many parts of whole blocks as there are threads.
struct Split {
  int64_t channels, lanes, blocks, parts;

  Split(const Shape& s, int lanes, int threads)
      : channels(s.channels), lanes(lanes), blocks((s.channels + lanes - 1) / lanes) {
    const bool images_suffice = s.batch % threads == 0 || s.batch >= 4 * threads;
    parts = images_suffice ? 1 : std::min<int64_t>(blocks, threads);
  }

  int64_t first(int64_t part) const { return std::min(channels, part * blocks / parts * lanes); }
};

// total[i] = the sum over the copies of copy[i], copies being `size` apart.
void sum_copies(float* total, const float* copy, int64_t copies, int64_t size, int threads) {
  constexpr int64_t slice = 4096;
  parallel_for((size + slice - 1) / slice, threads, [&](int64_t task) {
    const int64_t begin = task * slice, end = std::min(size, begin + slice);
    std::fill(total + begin, total + end, 0.0f);
    for (int64_t j = 0; j < copies; ++j)
      for (int64_t i = begin; i < end; ++i) total[i] += copy[j * size + i];
  });
}

}  // namespace

void selective_scan(const std::string& variant, int threads, const Shape& s, const Inputs& in,
                    float* y, float* carry) {
  selective_scan(variant, threads, s, in, y, carry, [&](int64_t count, const auto& task) {
    parallel_for(count, threads, task);
  });
}

void selective_scan(const std::string& variant, int threads, const Shape& s, const Inputs& in,
                    float* y, float* carry, const Run& run) {
  const Kernels& kernels = kernels_of(variant);
  const Split split(s, kernels.lanes, threads);
  run(s.batch * split.parts, [&](int64_t task) {
    const FlushDenormals flush;
    const int64_t part = task / s.batch;
    kernels.forward(s, in, y, carry, task % s.batch, split.first(part), split.first(part + 1));
  });
}

void selective_scan_backward(const std::string& variant, int threads, const Shape& s,
                             const Inputs& in, const float* carry, const float* grad_y,
                             const Gradients& grad) {
  const Kernels& kernels = kernels_of(variant);
  const Split split(s, kernels.lanes, threads);

  // Each image has its copy of the parameters' gradients (its parts own different channels), and
  // each part of an image its copy of the image's projection gradient.
  const int64_t per_channel = s.directions * s.channels;
  const int64_t sizes[] = {per_channel * s.rank, per_channel, per_channel * s.states,
                           per_channel};
  float* const totals[] = {grad.dt_weight, grad.dt_bias, grad.A, grad.skip};
  std::vector<float> copies[4];
  for (int i = 0; i < 4; ++i) copies[i].resize(sizes[i] * s.batch);
  const int64_t proj_size = s.length * s.rows();
  std::vector<float> proj_copies(split.parts > 1 ? split.parts * s.batch * proj_size : 0);
  float* const proj = split.parts > 1 ? proj_copies.data() : grad.proj;

  parallel_for(s.batch * split.parts, threads, [&](int64_t task) {
    const FlushDenormals flush;
    const int64_t b = task % s.batch, part = task / s.batch;
    const Partial out{proj + task * proj_size, copies[0].data() + b * sizes[0],
                      copies[1].data() + b * sizes[1], copies[2].data() + b * sizes[2],
                      copies[3].data() + b * sizes[3]};
    std::fill(out.proj, out.proj + proj_size, 0.0f);
    kernels.backward(s, in, carry, grad_y, grad.u, out, b, split.first(part),
                     split.first(part + 1));
  });
  for (int i = 0; i < 4; ++i)
    sum_copies(totals[i], copies[i].data(), s.batch, sizes[i], threads);
  if (split.parts > 1)
    sum_copies(grad.proj, proj, split.parts, s.batch * proj_size, threads);
}

}  // namespace mambaad
