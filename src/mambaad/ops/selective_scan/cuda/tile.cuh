// The tile of a program, and what it reads: shared by the scan's kernels in both directions.
//
// A program is one warp: it has one image, one direction, 16 channels and a segment of the sequence.
// Each lane holds the states 4 group .. 4 group + 3 of the channels 2 pair and 2 pair + 1 of the
// block, so that B and C are read as vectors, and a sum over states or channels is halved from lane
// to lane until each lane has one: of its own channel and step of two, or of one state's B or C.
// What is then added to memory is whole rows. States beyond N, channels beyond D and steps beyond the
// segment are read as 0: they neither decay nor add.
#pragma once

#include <device.cuh>

constexpr int STATES = 16, CHANNELS = 16;  // of a program
constexpr int TILE = 16;                   // steps between two states that are kept
#ifndef RANKS
#define RANKS 32  // 8, 16 or 32: of low that are copied ahead. More than needed leave less room.
#endif
constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// L positions, D channels, K directions, rank R, N states; the first pair of image and direction
// of those in dt, and the steps of a segment, a multiple of TILE.
struct Sizes {
  int L, D, K, R, N, first_pair, steps;
  int is_aligned;  // whether all tensors begin at multiples of 16 bytes, and D, R and N are of four

  __device__ int row() const { return R + 2 * N; }
};

// What the scan reads: u is b x L x D, proj b x L x K (R + 2N), W K x D x R, bias and skip K x D, A
// K x D x N and order K x L.
struct Inputs {
  const float *u, *proj, *W, *bias, *A, *skip;
  const int* order;
};

struct Program {
  const Sizes size;
  const int lane = threadIdx.x, group = lane & 3, pair = lane >> 2;
  const int own = lane / 2, own_step = lane % 2;  // the lane's channel of the block, and step
  const int segment = blockIdx.y, segments = gridDim.y, here = blockIdx.z;
  const int image, direction;
  const int begin, last;             // steps of the segment
  const int first_channel;           // of the block
  const int channel;                 // the lane's own, in D; if it is none, 0
  const bool is_channel;             // whether it is one
  const int map_bytes, proj_bytes;   // of what a map of D, and proj, have at a position

  __device__ explicit Program(const Sizes& s)
      : size(s),
        image((s.first_pair + here) / s.K),
        direction((s.first_pair + here) % s.K),
        begin(segment * s.steps),
        last(min(s.L, begin + s.steps)),
        first_channel(blockIdx.x * CHANNELS),
        channel(first_channel + own < s.D ? first_channel + own : 0),
        is_channel(first_channel + own < s.D),
        map_bytes(4 * s.D),
        proj_bytes(4 * s.K * s.row()) {}

  // The first of this image's values, or of this direction's steps, in a tensor with `width` for
  // each.
  __device__ int64_t image_at(int width) const { return int64_t(image) * size.L * width; }
  __device__ int64_t pair_at(int width) const { return int64_t(here) * size.L * width; }

  // Where the row of proj of this direction begins, at the image's first position.
  __device__ int64_t row_begin() const {
    return image_at(size.K * size.row()) + direction * size.row();
  }

  // Where the ranks' weights of a channel begin in W.
  __device__ int64_t weights_at(int d) const {
    return (int64_t(direction) * size.D + d) * size.R;
  }

  // Where the states of the lane's first channel begin, in row `number` of a tensor of D x N.
  __device__ int64_t state_at(int64_t number) const {
    return (number * size.D + first_channel + 2 * pair) * size.N + 4 * group;
  }
  __device__ int64_t part() const { return int64_t(here) * segments + segment; }
  __device__ int tiles() const { return (last - begin + TILE - 1) / TILE; }
  // The first tile of this segment, of those of all pairs.
  __device__ int64_t first_tile() const {
    return (int64_t(size.first_pair) + here) * ((size.L + TILE - 1) / TILE) + begin / TILE;
  }

  // The cell that the lane's step of a tile visits.
  __device__ int position(const int* order, int tile) const {
    const int t = max(min(begin + tile * TILE + lane % TILE, last - 1), 0);
    // Nothing is read or written outside the map, whatever the table says.
    return min(max(order[int64_t(direction) * size.L + t], 0), size.L - 1);
  }

  __device__ void load_states(float (&h)[2][4], const float* from) const {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const bool is_there = first_channel + 2 * pair + c < size.D;
      if (size.N == STATES && size.is_aligned) {
        const float4 v = is_there ? *reinterpret_cast<const float4*>(from + c * STATES)
                                  : make_float4(0, 0, 0, 0);
        h[c][0] = v.x, h[c][1] = v.y, h[c][2] = v.z, h[c][3] = v.w;
      } else {
#pragma unroll
        for (int n = 0; n < 4; ++n)
          h[c][n] = is_there && 4 * group + n < size.N ? from[c * size.N + n] : 0;
      }
    }
  }

  __device__ void store_states(float* to, const float (&h)[2][4]) const {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      if (first_channel + 2 * pair + c >= size.D) continue;
      if (size.N == STATES && size.is_aligned) {
        *reinterpret_cast<float4*>(to + c * STATES) =
            make_float4(h[c][0], h[c][1], h[c][2], h[c][3]);
      } else {
#pragma unroll
        for (int n = 0; n < 4; ++n)
          if (4 * group + n < size.N) to[c * size.N + n] = h[c][n];
      }
    }
  }

  // A of the lane's states, for powers of two: exp(dt A) = exp2(dt A_log2).
  __device__ void load_decays(float (&A_log2)[2][4], const float* A) const {
    load_states(A_log2, A + state_at(direction));
#pragma unroll
    for (int c = 0; c < 2; ++c)
#pragma unroll
      for (int n = 0; n < 4; ++n)  // finite, since a step beyond the segment multiplies it by 0
        A_log2[c][n] = A_log2[c][n] < -2e38f ? -3e38f : A_log2[c][n] * LOG2_E;
  }
};

// A step's values of a lane's states, and of its channels.
struct OfStates {
  float of[4];

  __device__ OfStates(const float* row, int which) {
    const float4 v = *reinterpret_cast<const float4*>(row + 4 * which);
    of[0] = v.x, of[1] = v.y, of[2] = v.z, of[3] = v.w;
  }
  __device__ float operator[](int i) const { return of[i]; }
};
struct OfChannels {
  float of[2];

  __device__ OfChannels(const float* row, int which) {
    const float2 v = *reinterpret_cast<const float2*>(row + 2 * which);
    of[0] = v.x, of[1] = v.y;
  }
  __device__ float operator[](int i) const { return of[i]; }
};

// What one step of the recurrence makes of the states.
__device__ __forceinline__ void advance(float (&h)[2][4], const float (&A_log2)[2][4],
                                        const OfChannels& dt, const OfChannels& u,
                                        const OfStates& B) {
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const float dt_u = dt[c] * u[c];
#pragma unroll
    for (int n = 0; n < 4; ++n)
      h[c][n] = fast_exp2(dt[c] * A_log2[c][n]) * h[c][n] + dt_u * B[n];
  }
}

// What copies fill: of each step of a tile, the block's channels, low, and B and C. dt takes low's
// place.
using ChannelRows = float[TILE][CHANNELS];
using LowRows = float[TILE][RANKS < CHANNELS ? CHANNELS : RANKS];
using StateRows = float[TILE][2 * STATES];

// Begin to copy a tile's rows, at the positions that the lanes have, in pieces of COUNT values a
// lane: `place(column)` is where a piece is in a row of so many bytes, or -1. That, and steps from
// `steps` on, are zeros.
template <int COUNT, int WIDTH, int ROW, class Place>
__device__ __forceinline__ void copy_pieces(float (&rows)[TILE][ROW], const float* from, int bytes,
                                            int position, int steps, const Place& place) {
  constexpr int LANES = WIDTH / COUNT;  // a row
  const int column = threadIdx.x % LANES * COUNT, at = place(column);
  from += max(at, 0);
  [[maybe_unused]] constexpr int UNROLLED = COUNT == 4 ? TILE : 1;  // single values are seldom, and many
#pragma unroll UNROLLED
  for (int first = 0; first < TILE; first += 32 / LANES) {
    const int s = first + threadIdx.x / LANES;
    copy_ahead<COUNT>(&rows[s][column], row_at(from, __shfl_sync(ALL_LANES, position, s), bytes),
                      at >= 0 && s < steps);
  }
}

// The same of the block's channels of a map.
template <int COUNT>
__device__ __forceinline__ void copy_map(ChannelRows& rows, const float* map, const Program& p,
                                         int position, int steps) {
  copy_pieces<COUNT, CHANNELS>(rows, map, p.map_bytes, position, steps, [&](int column) {
    const int d = p.first_channel + column;
    return d < p.size.D ? d : -1;
  });
}

// The same of low, and of B and C, from the direction's row of proj.
template <int COUNT>
__device__ __forceinline__ void copy_row(LowRows& low, StateRows& bc, const float* row,
                                         const Program& p, int position, int steps) {
  copy_pieces<COUNT, RANKS>(low, row, p.proj_bytes, position, steps,
                            [&](int r) { return r < p.size.R ? r : -1; });
  copy_pieces<COUNT, 2 * STATES>(bc, row, p.proj_bytes, position, steps, [&](int column) {
    const int n = column % STATES;
    return n < p.size.N ? p.size.R + column / STATES * p.size.N + n : -1;
  });
}

// What every kernel copies of a tile: the block's channels of a map, and the direction's row of proj.
struct alignas(16) TileRows {
  ChannelRows map;
  LowRows low;
  StateRows bc;

  template <int COUNT>
  __device__ void copy(const float* from, const float* row, const Program& p, int position,
                       int steps) {
    copy_map<COUNT>(map, from, p, position, steps);
    copy_row<COUNT>(low, bc, row, p, position, steps);
  }
};

// log(1 + exp(z)) to float32's precision, by atanh's series: s = x / (2 + x) is at most 1/3.
__device__ __forceinline__ float softplus(float z) {
  const float x = fast_exp2(-fabsf(z) * LOG2_E), s = x * fast_reciprocal(2 + x), q = s * s;
  const float series =
      1 + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9 + q * (1.0f / 11)))));
  return fmaxf(z, 0) + 2 * s * series;
}

// What the lanes need to expand dt: W of the block's channels, the first RANKS, and their bias.
struct alignas(16) Expansion {
  float4 W[RANKS / 4][CHANNELS];

  // Fill W, and return the bias of the lane's channel.
  __device__ float load(const Inputs& in, const Program& p) {
#pragma unroll 4
    for (int first = 0; first < CHANNELS * RANKS; first += 32) {
      const int d = (first + p.lane) / RANKS, r = p.lane % RANKS;
      const bool is_there = p.first_channel + d < p.size.D && r < p.size.R;
      reinterpret_cast<float*>(&W[r / 4][d])[r % 4] =
          is_there ? in.W[p.weights_at(p.first_channel + d) + r] : 0;
    }
    __syncwarp();
    return in.bias[int64_t(p.direction) * p.size.D + p.channel];
  }

  // Replace low of a tile of steps by dt = softplus(W low + bias), and of steps from `steps` on by 0:
  // each lane every second of its own channel.
  __device__ __forceinline__ void expand(LowRows& rows, float bias, const Inputs& in,
                                         const Program& p, int position, int steps) const {
    float z[TILE / 2];
#pragma unroll
    for (int i = 0; i < TILE / 2; ++i) z[i] = bias;
#pragma unroll 1  // more would take registers that the scan has not to spare
    for (int r = 0; r < min(p.size.R, RANKS); r += 4) {
      const float4 w = W[r / 4][p.own];
#pragma unroll
      for (int i = 0; i < TILE / 2; ++i) {
        const OfStates four(rows[2 * i + p.own_step], r / 4);
        z[i] += w.x * four[0];
        z[i] += w.y * four[1];
        z[i] += w.z * four[2];
        z[i] += w.w * four[3];
      }
    }
#pragma unroll 1
    for (int r = RANKS; r < p.size.R; ++r) {  // what is not copied ahead
      const float w = in.W[p.weights_at(p.channel) + r];
      const float* rest = in.proj + p.row_begin() + r;
#pragma unroll
      for (int i = 0; i < TILE / 2; ++i) {
        const int cell = __shfl_sync(ALL_LANES, position, 2 * i + p.own_step);
        z[i] += w * *row_at(rest, cell, p.proj_bytes);
      }
    }
    __syncwarp();  // low is read
#pragma unroll
    for (int i = 0; i < TILE / 2; ++i) {
      const int s = 2 * i + p.own_step;
      rows[s][p.own] = p.is_channel && s < steps ? softplus(z[i]) : 0;
    }
    __syncwarp();
  }
};

// Halve the values of a lane: keep the upper or the lower ones, and add the other lane's of these.
template <int COUNT>
__device__ __forceinline__ void halve(float* values, int distance) {
  const bool upper = threadIdx.x & distance;
#pragma unroll
  for (int i = 0; i < COUNT / 2; ++i) {
    const float kept = upper ? values[i + COUNT / 2] : values[i];
    const float given = upper ? values[i] : values[i + COUNT / 2];
    values[i] = kept + __shfl_xor_sync(ALL_LANES, given, distance);
  }
}

// From a lane's parts of sums over states, COUNT for each of its two channels and of two steps,
// those of its own channel and step.
template <int COUNT>
__device__ __forceinline__ void sum_states(float (&values)[4 * COUNT]) {
  halve<4 * COUNT>(values, 2);
  halve<2 * COUNT>(values, 1);
}

// From a lane's parts of the sums over channels, of B and C of its four states, one of the step's
// 32: of B in the lower half of the lanes, of C in the upper half, of the state `summed_state`.
__device__ __forceinline__ float sum_channels(float (&values)[8]) {
  halve<8>(values, 16);
  halve<4>(values, 8);
  halve<2>(values, 4);
  return values[0];
}

__device__ __forceinline__ int summed_state(int lane) {
  return 4 * (lane & 3) + ((lane >> 2) & 3);
}
