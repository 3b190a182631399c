// Instance norm followed by SiLU, in place: each channel of an image at mean 0 and variance 1
// over its positions (variance + 1e-5), then x sigmoid(x). In two steps, so that threads can
// share an image by positions: neighbouring channels of one position lie in one cache line.
#pragma once

#include "scan_kernel.hpp"

namespace mambaad {
namespace {

// The sum over the positions of f(x, i) for each channel of `count` neighbouring blocks. Summed
// in slices, so that the rounding grows with a 256th of the length only.
template <int count, class F>
void sums(int64_t length, int64_t channels, const float* x, const Block* blocks, Vec* total,
          const F& f) {
  constexpr int64_t slice = 256;
  for (int i = 0; i < count; ++i) total[i] = Vec{};
  for (int64_t begin = 0; begin < length; begin += slice) {
    Vec sum[count] = {};
    for (int64_t t = begin; t < smaller(begin + slice, length); ++t)
      for (int i = 0; i < count; ++i) sum[i] += f(blocks[i].read(x + t * channels), i);
    for (int i = 0; i < count; ++i) total[i] += sum[i];
  }
}

// Calls f.template operator()<count>(blocks) on groups of blocks that fill neighbouring cache
// lines, and on those left over one by one.
template <class F>
void for_blocks(int64_t channels, const F& f) {
  constexpr int together = 4;
  int64_t first = 0;
  for (; first + together * lanes <= channels; first += together * lanes) {
    Block blocks[together];
    for (int i = 0; i < together; ++i) blocks[i] = {first + i * lanes, lanes};
    f.template operator()<together>(blocks);
  }
  for (Block block : blocks_of(first, channels)) f.template operator()<1>(&block);
}

// Each channel's mean over `length` positions, and the sum of its squared deviations from it.
void moments(int64_t length, int64_t channels, const float* x, float* mean, float* squares) {
  for_blocks(channels, [&]<int count>(const Block* blocks) {
    Vec m[count], s[count];
    sums<count>(length, channels, x, blocks, m, [](Vec v, int) { return v; });
    for (int i = 0; i < count; ++i) m[i] /= float(length);
    sums<count>(length, channels, x, blocks, s,
                [&](Vec v, int i) { return (v - m[i]) * (v - m[i]); });
    for (int i = 0; i < count; ++i) blocks[i].write(mean, m[i]), blocks[i].write(squares, s[i]);
  });
}

// silu((x - mean) scale), in place.
void normalise_silu(int64_t length, int64_t channels, float* x, const float* mean,
                    const float* scale) {
  for_blocks(channels, [&]<int count>(const Block* given) {
    Block blocks[count];
    Vec m[count], s[count];
    for (int i = 0; i < count; ++i)
      blocks[i] = given[i], m[i] = blocks[i].read(mean), s[i] = blocks[i].read(scale);
    for (int64_t t = 0; t < length; ++t)
      for (int i = 0; i < count; ++i)
        blocks[i].write(x + t * channels, silu((blocks[i].read(x + t * channels) - m[i]) * s[i]));
  });
}

}  // namespace
}  // namespace mambaad
