// The forward kernel: h_t = a_t h_(t-1) + b_t with a_t = exp(dt_t A) and b_t = dt_t u_t B_t.
#include <tile.cuh>

namespace {

// Scan a segment from the state in `start`, add to y, and fill `carry` if KEEP. STATES_ONLY: from
// zero, and only into `end` and `dt_sum`, the state at its end and the sum of its dt.
template <bool KEEP, bool STATES_ONLY>
__device__ __forceinline__ void scan(const Inputs& in, const float* start, float* y,
                                     float* carry, float* end, float* dt_sum, const Sizes& size) {
  __shared__ TileRows buffers[2];
  __shared__ Expansion expansion;
  const Program p(size);
  float A_log2[2][4], h[2][4] = {};
  p.load_decays(A_log2, in.A);
  const float bias = expansion.load(in, p);
  if (!STATES_ONLY) p.load_states(h, start + p.state_at(p.part()));
  const float own_skip = in.skip[int64_t(p.direction) * size.D + p.channel];
  const float* map = in.u + p.image_at(size.D);
  const float* row = in.proj + p.row_begin();
  if constexpr (!STATES_ONLY) y += p.image_at(size.D) + p.channel;
  if constexpr (KEEP) carry += p.state_at(p.first_tile());

  const auto stage = [&](int tile, int position) {
    if (tile < p.tiles()) {
      const int steps = p.last - (p.begin + tile * TILE);
      if (size.is_aligned)
        buffers[tile % 2].copy<4>(map, row, p, position, steps);
      else
        buffers[tile % 2].copy<1>(map, row, p, position, steps);
    }
    end_group();
  };

  float total = 0;
  int position = p.position(in.order, 0), next = p.position(in.order, 1);
  stage(0, position);
  for (int tile = 0; tile < p.tiles(); ++tile) {
    stage(tile + 1, next);
    const int later = p.position(in.order, tile + 2);
    const int steps = p.last - (p.begin + tile * TILE);
    if (KEEP) p.store_states(carry + int64_t(tile) * size.D * size.N, h);
    wait_for_groups<1>();
    TileRows& at = buffers[tile % 2];
    expansion.expand(at.low, bias, in, p, position, steps);
#pragma unroll 2
    for (int s = 0; s < TILE; s += 2) {
      float sums[4] = {};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const OfChannels dt_t(at.low[s + i], p.pair), u_t(at.map[s + i], p.pair);
        advance(h, A_log2, dt_t, u_t, OfStates(at.bc[s + i], p.group));
        const OfStates C(at.bc[s + i] + STATES, p.group);
#pragma unroll
        for (int c = 0; c < 2; ++c)
#pragma unroll
          for (int n = 0; n < 4; ++n) sums[2 * c + i] += h[c][n] * C[n];
      }
      const int own_s = s + p.own_step;
      if (STATES_ONLY) {
        total += at.low[own_s][p.own];
      } else {
        sum_states<1>(sums);
        const float sum = sums[0] + own_skip * at.map[own_s][p.own];
        const int cell = __shfl_sync(ALL_LANES, position, own_s);
        if (p.is_channel) add(row_at(y, cell, p.map_bytes), own_s < steps ? sum : 0);
      }
    }
    __syncwarp();  // the buffers are read, before others are copied into them
    position = next, next = later;
  }
  if (STATES_ONLY) {
    p.store_states(end + p.state_at(p.part()), h);
    total += __shfl_xor_sync(ALL_LANES, total, 1);
    if (p.is_channel && p.own_step == 0) dt_sum[p.part() * size.D + p.channel] = total;
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(32)
    forward(Inputs in, const float* start, float* y, Sizes size) {
  scan<false, false>(in, start, y, nullptr, nullptr, nullptr, size);
}

extern "C" __global__ void __launch_bounds__(32)
    forward_kept(Inputs in, const float* start, float* y, float* carry, Sizes size) {
  scan<true, false>(in, start, y, carry, nullptr, nullptr, size);
}

extern "C" __global__ void __launch_bounds__(32)
    states_only(Inputs in, float* end, float* dt_sum, Sizes size) {
  scan<false, true>(in, nullptr, nullptr, nullptr, end, dt_sum, size);
}
