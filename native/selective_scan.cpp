// Which kernel runs, and how the work is dealt out to threads.
#include "selective_scan.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "flush_denormals.hpp"
#include "kernels.hpp"
#include "thread_pool.hpp"

namespace mambaad {
namespace {

std::vector<const Kernels*> supported() {
  std::vector<const Kernels*> found;
#if defined(MAMBAAD_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    found.push_back(&kernels_avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    found.push_back(&kernels_avx2);
#endif
  found.push_back(&kernels_generic);
  return found;
}

const Kernels& kernels_of(const std::string& variant) {
  for (const Kernels* kernels : supported())
    if (variant == kernels->name) return *kernels;
  throw std::invalid_argument("no kernel variant '" + variant + "' on this processor");
}

// How an image's channels are dealt out: whole where the images alone keep every thread busy,
// otherwise in as many parts of whole blocks as there are threads.
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

std::vector<std::string> variants() {
  std::vector<std::string> names;
  for (const Kernels* kernels : supported()) names.push_back(kernels->name);
  return names;
}

void exp2_product(const std::string& variant, int64_t size, const float* a, const float* b,
                  float* y) {
  const FlushDenormals flush;
  kernels_of(variant).exp2_product(size, a, b, y);
}

void softplus(const std::string& variant, int64_t size, const float* x, float* y) {
  const FlushDenormals flush;
  kernels_of(variant).softplus(size, x, y);
}

void silu(const std::string& variant, int64_t size, const float* x, float* y) {
  const FlushDenormals flush;
  kernels_of(variant).silu(size, x, y);
}

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

void selective_scan(const std::string& variant, int threads, const Shape& s, const Inputs& in,
                    float* y, float* carry) {
  const Kernels& kernels = kernels_of(variant);
  const Split split(s, kernels.lanes, threads);
  parallel_for(s.batch * split.parts, threads, [&](int64_t task) {
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
