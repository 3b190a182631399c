// The selective scan of selective_scan.hpp on vectors of `lanes` channels; compiled once for
// each instruction set. A block is `lanes` neighbouring channels, the last one perhaps fewer.
//
// A direction is processed a chunk of positions at a time, and each chunk block by block, so that
// the rows of a chunk are read while they are in the nearest cache. What depends on one position
// alone is computed first, in any order the processor likes; then the recurrence runs over the
// chunk, a group of states at a time so that h and A stay in registers.
//
// The standard library is used only for vectors of Vec. Of a template that several translation
// units instantiate (std::fill<float*>, std::function) the linker keeps one copy; if it kept the
// one compiled here, the others would run this instruction set on processors without it.
#pragma once

#include <vector>

#include "kernels.hpp"
#include "vec.hpp"

namespace mambaad {
namespace {

constexpr float log2_e = 1.44269504f, ln_2 = 0.693147181f;

// States computed on together: with their B and their C they fill one tree of row_sums.
constexpr int group = lanes / 2;

// The same where there are no such sums: as many as keep h and A in registers.
#if defined(MAMBAAD_NEON)
constexpr int forward_group = 4;
#else
constexpr int forward_group = group;
#endif

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

inline void clear(std::vector<Vec>& v) {
  for (size_t i = 0; i < v.size(); ++i) v[i] = Vec{};
}

// Neighbouring channels, a vector's worth.
struct Block {
  int64_t first;
  int count;

  Vec read(const float* row) const { return load(row + first, count); }
  void write(float* row, Vec v) const { store(row + first, v, count); }
  void add(float* row, Vec v) const { write(row, read(row) + v); }
};

// The parameters of one direction for one block, a vector per rank and state; the ranks are padded
// with zeros to a multiple of `lanes`.
struct Parameters {
  std::vector<Vec> dt_weight, A_log2;  // A_log2: A / ln 2, since exp(dt A) = exp2(dt A_log2)
  Vec dt_bias{};

  explicit Parameters(const Shape& s)
      : dt_weight((s.rank + lanes - 1) / lanes * lanes), A_log2(s.states) {}

  void load_from(const Shape& s, const Inputs& in, int64_t k, Block block) {
    dt_bias = block.read(in.dt_bias + k * s.channels);
    const int64_t at = k * s.channels + block.first;
    for (int i = 0; i < block.count; ++i) {
      for (int64_t r = 0; r < s.rank; ++r) dt_weight[r][i] = in.dt_weight[(at + i) * s.rank + r];
      for (int64_t n = 0; n < s.states; ++n)
        A_log2[n][i] = in.A[(at + i) * s.states + n] * log2_e;
    }
    for (Vec& a : A_log2) a = max(broadcast(-0x1p30f), a);  // for exp2_product, as below
  }
};

// The blocks of channels first .. last - 1.
inline std::vector<Block> blocks_of(int64_t first, int64_t last) {
  std::vector<Block> blocks;
  for (; first < last; first += lanes)
    blocks.push_back({first, int(smaller(lanes, last - first))});
  return blocks;
}

// The inputs of one chunk of one direction, by the step within the chunk.
struct Chunk {
  int64_t size;
  int64_t position[chunk_length];  // within the image
  const float* row[chunk_length];  // projected: dt_low, then B, then C
  Vec u[chunk_length], dt[chunk_length], dt_u[chunk_length];

  void visit(const Shape& s, const Inputs& in, int64_t b, int64_t k, int64_t c) {
    const int64_t begin = c * chunk_length;
    size = smaller(chunk_length, s.length - begin);
    for (int64_t t = 0; t < size; ++t) {
      position[t] = in.order[k * s.length + begin + t];
      row[t] = in.proj + (b * s.length + position[t]) * s.rows() + k * s.row();
    }
  }

  // u, dt = softplus(dt_weight low + dt_bias) and dt u of a block; `slope` is null or receives
  // softplus's slope. `u_map` is the image's.
  void expand(const Shape& s, const float* u_map, const Parameters& p, Block block, Vec* slope) {
    constexpr int unroll = 4;  // steps that share each weight while it is in a register
    for (int64_t t = 0; t < size; t += unroll) {
      Vec sum[unroll];
      const float* low[unroll];
      for (int j = 0; j < unroll; ++j) sum[j] = p.dt_bias, low[j] = row[smaller(t + j, size - 1)];
      for (int64_t r = 0; r < s.rank; ++r)
        for (int j = 0; j < unroll; ++j) sum[j] += p.dt_weight[r] * low[j][r];
      for (int j = 0; j < unroll; ++j) dt[t + j] = sum[j];
    }
    for (int64_t t = 0; t < size; ++t) {
      u[t] = block.read(u_map + position[t] * s.channels);
      dt[t] = softplus(dt[t], slope ? slope + t : nullptr);
      dt_u[t] = dt[t] * u[t];
      dt[t] = min(broadcast(0x1p30f), dt[t]);
    }
  }
};

// The sum over the directions of the skip weights: the skip term, like y, adds up over them.
inline Vec skip_sum(const Shape& s, const Inputs& in, Block block) {
  Vec sum{};
  for (int64_t k = 0; k < s.directions; ++k) sum += block.read(in.skip + k * s.channels);
  return sum;
}

// Calls f.template operator()<count>(n) on groups of states that together cover 0 .. states - 1:
// as many as possible of `group`, then of halves.
template <int count = group, class F>
void for_groups(int64_t states, const F& f, int64_t n = 0) {
  for (; n + count <= states; n += count) f.template operator()<count>(n);
  if constexpr (count > 1) for_groups<count / 2>(states, f, n);
}

// The recurrence over one chunk, for `count` states from n on: `state` is carried on, y added to.
template <int count>
void scan_states(const Shape& s, const Chunk& chunk, const Vec* A_log2, int64_t n, Vec* state,
                 Vec* y) {
  Vec h[count], A[count];
  for (int i = 0; i < count; ++i) h[i] = state[n + i], A[i] = A_log2[n + i];
  for (int64_t t = 0; t < chunk.size; ++t) {
    const float* B = chunk.row[t] + s.rank + n;
    const float* C = B + s.states;
    Vec even{}, odd{};
    for (int i = 0; i < count; ++i) {
      h[i] = exp2_product(chunk.dt[t], A[i]) * h[i] + chunk.dt_u[t] * B[i];
      (i % 2 ? odd : even) += h[i] * C[i];
    }
    y[t] += even + odd;
  }
  for (int i = 0; i < count; ++i) state[n + i] = h[i];
}

void exp2_products(int64_t size, const float* a, const float* b, float* y) {
  for (int64_t i = 0; i < size; i += lanes) {
    const int count = int(smaller(lanes, size - i));
    store(y + i, exp2_product(load(a + i, count), load(b + i, count)), count);
  }
}

// y = f(x), a vector at a time.
template <class F>
void map_values(int64_t size, const float* x, float* y, const F& f) {
  for (int64_t i = 0; i < size; i += lanes) {
    const int count = int(smaller(lanes, size - i));
    store(y + i, f(load(x + i, count)), count);
  }
}

void softpluses(int64_t size, const float* x, float* y) {
  map_values(size, x, y, [](Vec v) { return softplus(v); });
}

void silus(int64_t size, const float* x, float* y) {
  map_values(size, x, y, [](Vec v) { return silu(v); });
}

void forward(const Shape& s, const Inputs& in, float* y, float* carry, int64_t b, int64_t first,
             int64_t last) {
  const std::vector<Block> blocks = blocks_of(first, last);
  std::vector<Parameters> parameters(blocks.size(), Parameters(s));
  std::vector<Vec> states(blocks.size() * s.states);
  Chunk chunk;
  Vec y_chunk[chunk_length];
  const float* u_map = in.u + b * s.length * s.channels;
  float* y_map = y + b * s.length * s.channels;

  for (Block block : blocks) {
    const Vec skip = skip_sum(s, in, block);
    for (int64_t at = 0; at < s.length * s.channels; at += s.channels)
      block.write(y_map + at, skip * block.read(u_map + at));
  }
  for (int64_t k = 0; k < s.directions; ++k) {
    for (size_t i = 0; i < blocks.size(); ++i) parameters[i].load_from(s, in, k, blocks[i]);
    clear(states);
    for (int64_t c = 0; c < s.chunks(); ++c) {
      chunk.visit(s, in, b, k, c);
      for (size_t i = 0; i < blocks.size(); ++i) {
        Vec* state = states.data() + i * s.states;
        chunk.expand(s, u_map, parameters[i], blocks[i], nullptr);
        if (carry) {
          float* to = carry + ((b * s.directions + k) * s.chunks() + c) * s.states * s.channels;
          for (int64_t n = 0; n < s.states; ++n) blocks[i].write(to + n * s.channels, state[n]);
        }
        for (int64_t t = 0; t < chunk.size; ++t) y_chunk[t] = Vec{};
        for_groups<forward_group>(s.states, [&]<int count>(int64_t n) {
          scan_states<count>(s, chunk, parameters[i].A_log2.data(), n, state, y_chunk);
        });
        for (int64_t t = 0; t < chunk.size; ++t)
          blocks[i].add(y_map + chunk.position[t] * s.channels, y_chunk[t]);
      }
    }
  }
}

}  // namespace
}  // namespace mambaad
