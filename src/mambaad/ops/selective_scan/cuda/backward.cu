// The backward kernel: from the last step to the first, the gradients of u, B, C, z, A and skip.
//
// With lambda_t ("costate") the gradient of h_t, and g_t that of y_t,
//
//     lambda_t = C_t g_t + a_(t+1) lambda_(t+1),
//
// a scan in reverse. It needs every h_(t-1), which are not kept: from the state before a tile of
// steps, which the forward has kept in the carry, those before each two steps are computed again,
// and from each of these the states of its two steps, in registers. (h_(t-1) cannot be had from
// h_t: where the decay is small it has lost its digits.)
#include <tile.cuh>

namespace {

struct alignas(16) BackwardRows : TileRows {  // of u, and
  ChannelRows g;

  template <int COUNT>
  __device__ void copy(const float* from, const float* of_y, const float* row, const Program& p,
                       int position, int steps) {
    TileRows::copy<COUNT>(from, row, p, position, steps);
    copy_map<COUNT>(g, of_y, p, position, steps);
  }
};

// The derivative of dt = softplus(z): sigmoid(z) = 1 - exp(-dt), by its series where small.
__device__ __forceinline__ float softplus_gradient(float dt) {
  const float series = dt * (1 - dt * (0.5f - dt * (1.0f / 6 - dt * (1.0f / 24))));
  return dt < 0.03f ? series : 1 - fast_exp2(-dt * LOG2_E);
}

// What a step reads.
struct Step {
  const OfChannels dt, u, g;
  const OfStates B, C;

  __device__ Step(const BackwardRows& at, int s, const Program& p)
      : dt(at.low[s], p.pair),
        u(at.map[s], p.pair),
        g(at.g[s], p.pair),
        B(at.bc[s], p.group),
        C(at.bc[s] + STATES, p.group) {}
};

}  // namespace

// Scan each segment in reverse from zero: what flows out `before` it, and its sum of dt.
extern "C" __global__ void __launch_bounds__(32)
    costates(Inputs in, const float* g, float* before, float* dt_sum, Sizes size) {
  __shared__ TileRows buffers[2];
  __shared__ Expansion expansion;
  const Program p(size);
  float A_log2[2][4], coming[2][4] = {}, total = 0;
  p.load_decays(A_log2, in.A);
  const float bias = expansion.load(in, p);
  const float* row = in.proj + p.row_begin();
  g += p.image_at(size.D);

  const auto stage = [&](int tile, int position) {
    if (tile >= 0) {
      const int steps = p.last - (p.begin + tile * TILE);
      if (size.is_aligned)
        buffers[tile % 2].copy<4>(g, row, p, position, steps);
      else
        buffers[tile % 2].copy<1>(g, row, p, position, steps);
    }
    end_group();
  };

  int position = p.position(in.order, p.tiles() - 1), next = p.position(in.order, p.tiles() - 2);
  stage(p.tiles() - 1, position);
  for (int tile = p.tiles() - 1; tile >= 0; --tile) {
    stage(tile - 1, next);
    const int later = p.position(in.order, tile - 2);
    wait_for_groups<1>();
    TileRows& at = buffers[tile % 2];
    const int steps = p.last - (p.begin + tile * TILE);
    expansion.expand(at.low, bias, in, p, position, steps);
#pragma unroll 8
    for (int s = TILE - 1; s >= 0; --s) {
      const OfChannels dt_t(at.low[s], p.pair), g_t(at.map[s], p.pair);
      const OfStates C(at.bc[s] + STATES, p.group);
#pragma unroll
      for (int c = 0; c < 2; ++c)
#pragma unroll
        for (int n = 0; n < 4; ++n)
          coming[c][n] = fast_exp2(dt_t[c] * A_log2[c][n]) * (C[n] * g_t[c] + coming[c][n]);
      if (s % 2 == 0) total += at.low[s + p.own_step][p.own];
    }
    __syncwarp();  // the buffers are read, before others are copied into them
    position = next, next = later;
  }
  p.store_states(before + p.state_at(p.part()), coming);
  total += __shfl_xor_sync(ALL_LANES, total, 1);
  if (p.is_channel && p.own_step == 0) dt_sum[p.part() * size.D + p.channel] = total;
}

// Scan the segments in reverse from what flows in `after` them, and add to the gradients of u, B
// and C. That of z, from which dt = softplus(z), is stored in the order of the steps, those of A and
// skip for each segment.
extern "C" __global__ void __launch_bounds__(32)
    backward(Inputs in, const float* carry, const float* g, const float* after, float* grad_u,
             float* grad_proj, float* grad_z, float* grad_A, float* grad_skip, Sizes size) {
  __shared__ BackwardRows buffers[2];
  __shared__ Expansion expansion;
  __shared__ float4 room[TILE / 2][2][32];  // the states before each two steps of a tile
  const Program p(size);
  const int lane = p.lane;
  float A_log2[2][4], coming[2][4], h[2][4];  // coming: a lambda of the step that follows
  float sum_A[2][4] = {}, sum_skip = 0;
  p.load_decays(A_log2, in.A);
  const float bias = expansion.load(in, p);
  p.load_states(coming, after + p.state_at(p.part()));
  const float own_skip = in.skip[int64_t(p.direction) * size.D + p.channel];
  const float* map = in.u + p.image_at(size.D);
  const float* row = in.proj + p.row_begin();
  g += p.image_at(size.D);
  grad_u += p.image_at(size.D) + p.channel;
  grad_z += p.pair_at(size.D) + p.channel;
  carry += p.state_at(p.first_tile());
  // What the lane adds to grad_proj: the gradient of B or C, of one state.
  const int own_n = summed_state(lane);
  const bool adds_bc = own_n < size.N;
  grad_proj += p.row_begin() + size.R + (adds_bc ? lane / STATES * size.N + own_n : 0);

  const auto stage = [&](int tile, int position) {
    if (tile >= 0) {
      const int steps = p.last - (p.begin + tile * TILE);
      if (size.is_aligned)
        buffers[tile % 2].copy<4>(map, g, row, p, position, steps);
      else
        buffers[tile % 2].copy<1>(map, g, row, p, position, steps);
    }
    end_group();
  };

  int position = p.position(in.order, p.tiles() - 1), next = p.position(in.order, p.tiles() - 2);
  stage(p.tiles() - 1, position);
  p.load_states(h, carry + int64_t(p.tiles() - 1) * size.D * size.N);
  for (int tile = p.tiles() - 1; tile >= 0; --tile) {
    stage(tile - 1, next);
    const int later = p.position(in.order, tile - 2);
    wait_for_groups<1>();
    BackwardRows& at = buffers[tile % 2];
    const int first = p.begin + tile * TILE, steps = p.last - first;
    const int twos = (min(steps, TILE) + 1) / 2;
    expansion.expand(at.low, bias, in, p, position, steps);

#pragma unroll 1
    for (int two = 0; two < twos; ++two) {
#pragma unroll
      for (int c = 0; c < 2; ++c)
        room[two][c][lane] = make_float4(h[c][0], h[c][1], h[c][2], h[c][3]);
#pragma unroll
      for (int s = 2 * two; s < 2 * two + 2; ++s)
        advance(h, A_log2, OfChannels(at.low[s], p.pair), OfChannels(at.map[s], p.pair),
                OfStates(at.bc[s], p.group));
    }
    p.load_states(h, carry + int64_t(max(tile - 1, 0)) * size.D * size.N);  // early, of the next

#pragma unroll 1
    for (int two = twos - 1; two >= 0; --two) {
      const Step pair[2] = {Step(at, 2 * two, p), Step(at, 2 * two + 1, p)};
      float states[3][2][4], decay[2][2][4];  // before both steps, between and after them
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float4 v = room[two][c][lane];
        states[0][c][0] = v.x, states[0][c][1] = v.y, states[0][c][2] = v.z, states[0][c][3] = v.w;
      }
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const float dt_u = pair[i].dt[c] * pair[i].u[c];
#pragma unroll
          for (int n = 0; n < 4; ++n) {
            decay[i][c][n] = fast_exp2(pair[i].dt[c] * A_log2[c][n]);
            states[i + 1][c][n] = decay[i][c][n] * states[i][c][n] + dt_u * pair[i].B[n];
          }
        }
      float of_channels[8] = {};  // of each channel and step, sums over states: for dt, for the input
#pragma unroll
      for (int i = 1; i >= 0; --i) {
        const Step& t = pair[i];
        float of_states[8] = {};  // the gradients of B, then of C
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const float dt_u = t.dt[c] * t.u[c];
          float* of_channel = of_channels + 2 * (2 * c + i);
#pragma unroll
          for (int n = 0; n < 4; ++n) {
            const float costate = t.C[n] * t.g[c] + coming[c][n];
            coming[c][n] = decay[i][c][n] * costate;
            const float on_decay = coming[c][n] * states[i][c][n];  // lambda_t a_t h_(t-1)
            of_channel[0] += on_decay * A_log2[c][n];
            of_channel[1] += costate * t.B[n];
            sum_A[c][n] += on_decay * t.dt[c];
            of_states[n] += costate * dt_u;
            of_states[4 + n] += states[i + 1][c][n] * t.g[c];
          }
        }
        const float grad_bc = sum_channels(of_states);
        const int s = 2 * two + i, cell = __shfl_sync(ALL_LANES, position, s);
        if (adds_bc && s < steps) add(row_at(grad_proj, cell, p.proj_bytes), grad_bc);
      }
      sum_states<2>(of_channels);
      const int s = 2 * two + p.own_step, cell = __shfl_sync(ALL_LANES, position, s);
      const float own_u = at.map[s][p.own], own_dt = at.low[s][p.own], own_g = at.g[s][p.own];
      const float on_input = of_channels[1], grad_dt = of_channels[0] * LN_2 + on_input * own_u;
      sum_skip += own_g * own_u;
      if (p.is_channel && s < steps) {
        store(row_at(grad_z, first + s, p.map_bytes), grad_dt * softplus_gradient(own_dt));
        add(row_at(grad_u, cell, p.map_bytes), on_input * own_dt + own_skip * own_g);
      }
    }
    __syncwarp();  // the buffers are read, before others are copied into them
    position = next, next = later;
  }
  p.store_states(grad_A + p.state_at(p.part()), sum_A);
  sum_skip += __shfl_xor_sync(ALL_LANES, sum_skip, 1);
  if (p.is_channel && p.own_step == 0) grad_skip[p.part() * size.D + p.channel] = sum_skip;
}
