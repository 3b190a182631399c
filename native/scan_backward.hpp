// The gradients of the selective scan, from the states that the forward stored before each
// chunk: a chunk's states are computed again, then visited from its last step to its first.
// As in triton/backward.py, lambda_t ("costate") is the gradient of h_t, g_t that of y_t, and
// a_t = exp(dt_t A):
//     lambda_t = C_t g_t + a_(t+1) lambda_(t+1)
//     grad B_t = sum over d of lambda_t dt_t u_t        grad C_t = sum over d of g_t h_t
//     grad dt_t = sum over n of lambda_t (B_t u_t + A a_t h_(t-1))
//     grad A   = sum over t of lambda_t dt_t a_t h_(t-1)
#pragma once

#include "scan_kernel.hpp"

namespace mambaad {
namespace {

// Gradients into and out of the recurrence of one chunk and block, by the step in the chunk.
struct ChunkGradients {
  Vec g[chunk_length];          // of y
  Vec lambda_B[chunk_length];   // sum over n of lambda B
  Vec lambda_Ah[chunk_length];  // sum over n of lambda A_log2 a h_(t-1)
  Vec x[chunk_length];          // of dt_weight low + dt_bias; first the slope of softplus there
  float* row[chunk_length];     // of the projected row, added to
};

// Adds grad x times each weight, summed over the lanes, to the gradient of each row's dt_low,
// `width` ranks at a time; the steps that fit beside each other share one tree of sums.
template <int width>
void add_grad_low(int64_t size, int64_t rank, const Vec* dt_weight, ChunkGradients& grad) {
  constexpr int steps = lanes / width;
  for (int64_t r = 0; r < rank; r += width) {
    const int64_t ranks = smaller(width, rank - r);
    for (int64_t t = 0; t < size; t += steps) {
      Vec products[lanes];
      for (int j = 0; j < steps; ++j)
        for (int i = 0; i < width; ++i)
          products[j * width + i] = grad.x[t + j] * dt_weight[r + i];
      float sums[lanes];
      store(sums, row_sums(products));
      for (int64_t j = 0; j < smaller(steps, size - t); ++j)
        for (int64_t i = 0; i < ranks; ++i) grad.row[t + j][r + i] += sums[j * width + i];
    }
  }
}

// grad dt_weight of a block: the sum over the steps of grad x times dt_low.
inline void add_grad_dt_weight(const Chunk& chunk, const ChunkGradients& grad,
                               std::vector<Vec>& dt_weight) {
  constexpr int unroll = 4;  // ranks that share each grad x while it is in a register
  const int64_t rank = int64_t(dt_weight.size());
  for (int64_t r = 0; r < rank; r += unroll) {
    Vec sum[unroll] = {};
    int64_t at[unroll];
    for (int j = 0; j < unroll; ++j) at[j] = smaller(r + j, rank - 1);
    for (int64_t t = 0; t < chunk.size; ++t)
      for (int j = 0; j < unroll; ++j) sum[j] += grad.x[t] * chunk.row[t][at[j]];
    for (int j = 0; j < smaller(unroll, rank - r); ++j) dt_weight[r + j] += sum[j];
  }
}

// `state`: before the chunk. `flow`: a lambda of the step after the chunk, carried on to that
// of the chunk's first step. `grad_A` is added to.
template <int count>
void scan_states_backward(const Shape& s, const Chunk& chunk, const Vec* A_log2, int64_t n,
                          const Vec* state, Vec* flow, Vec* grad_A, ChunkGradients& grad) {
  Vec decay[chunk_length][count], h[chunk_length + 1][count], A[count];
  for (int i = 0; i < count; ++i) A[i] = A_log2[n + i], h[0][i] = state[n + i];
  for (int64_t t = 0; t < chunk.size; ++t) {
    const float* B = chunk.row[t] + s.rank + n;
    for (int i = 0; i < count; ++i) {
      decay[t][i] = exp2_product(chunk.dt[t], A[i]);
      h[t + 1][i] = decay[t][i] * h[t][i] + chunk.dt_u[t] * B[i];
    }
  }

  Vec back[count], dA[count];
  for (int i = 0; i < count; ++i) back[i] = flow[n + i], dA[i] = grad_A[n + i];
  for (int64_t t = chunk.size; t-- > 0;) {
    const float* B = chunk.row[t] + s.rank + n;
    const float* C = B + s.states;
    Vec products[lanes] = {};  // of grad B in the first half, of grad C in the second
    Vec lambda_B{}, lambda_Ah{};
    for (int i = 0; i < count; ++i) {
      const Vec lambda = grad.g[t] * C[i] + back[i];
      back[i] = decay[t][i] * lambda;
      const Vec lambda_ah = back[i] * h[t][i];
      products[i] = lambda * chunk.dt_u[t];
      products[group + i] = grad.g[t] * h[t + 1][i];
      lambda_B += lambda * B[i];
      lambda_Ah += lambda_ah * A[i];
      dA[i] += lambda_ah * chunk.dt[t];
    }
    grad.lambda_B[t] += lambda_B;
    grad.lambda_Ah[t] += lambda_Ah;
    float* grad_B = grad.row[t] + s.rank + n;
    const Vec sums = row_sums(products);
    if constexpr (count == group) {
      add_halves(grad_B, grad_B + s.states, sums);
    } else {
      for (int i = 0; i < count; ++i) {
        grad_B[i] += sums[i];
        grad_B[s.states + i] += sums[group + i];
      }
    }
  }
  for (int i = 0; i < count; ++i) flow[n + i] = back[i], grad_A[n + i] = dA[i];
}

// The gradients of one direction's parameters for one block, and the flow between its chunks.
struct BlockGradients {
  std::vector<Vec> dt_weight, A, flow;
  Vec dt_bias{};

  explicit BlockGradients(const Shape& s) : dt_weight(s.rank), A(s.states), flow(s.states) {}

  void reset() {
    clear(dt_weight);
    clear(A);
    clear(flow);
    dt_bias = Vec{};
  }

  void store_to(const Shape& s, const Partial& out, int64_t k, Block block) const {
    block.write(out.dt_bias + k * s.channels, dt_bias);
    const int64_t at = k * s.channels + block.first;
    for (int i = 0; i < block.count; ++i) {
      for (int64_t r = 0; r < s.rank; ++r) out.dt_weight[(at + i) * s.rank + r] = dt_weight[r][i];
      for (int64_t n = 0; n < s.states; ++n) out.A[(at + i) * s.states + n] = A[n][i];
    }
  }
};

void backward(const Shape& s, const Inputs& in, const float* carry, const float* grad_y,
              float* grad_u, const Partial& out, int64_t b, int64_t first, int64_t last) {
  const std::vector<Block> blocks = blocks_of(first, last);
  std::vector<Parameters> parameters(blocks.size(), Parameters(s));
  std::vector<BlockGradients> gradients(blocks.size(), BlockGradients(s));
  std::vector<Vec> state(s.states);
  Chunk chunk;
  ChunkGradients grad;
  const int64_t map = b * s.length * s.channels;
  const float *u_map = in.u + map, *grad_y_map = grad_y + map;
  float* grad_u_map = grad_u + map;

  for (Block block : blocks) {
    const Vec skip = skip_sum(s, in, block);
    Vec grad_skip{};
    for (int64_t at = 0; at < s.length * s.channels; at += s.channels) {
      const Vec g = block.read(grad_y_map + at);
      block.write(grad_u_map + at, skip * g);
      grad_skip += g * block.read(u_map + at);
    }
    for (int64_t k = 0; k < s.directions; ++k) block.write(out.skip + k * s.channels, grad_skip);
  }

  for (int64_t k = 0; k < s.directions; ++k) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      parameters[i].load_from(s, in, k, blocks[i]);
      gradients[i].reset();
    }
    for (int64_t c = s.chunks(); c-- > 0;) {
      chunk.visit(s, in, b, k, c);
      for (int64_t t = 0; t < chunk.size; ++t)
        grad.row[t] = out.proj + chunk.position[t] * s.rows() + k * s.row();
      const float* before =
          carry + ((b * s.directions + k) * s.chunks() + c) * s.states * s.channels;

      for (size_t i = 0; i < blocks.size(); ++i) {
        const Block block = blocks[i];
        BlockGradients& sum = gradients[i];
        chunk.expand(s, u_map, parameters[i], block, grad.x);
        for (int64_t n = 0; n < s.states; ++n) state[n] = block.read(before + n * s.channels);
        for (int64_t t = 0; t < chunk.size; ++t) {
          grad.g[t] = block.read(grad_y_map + chunk.position[t] * s.channels);
          grad.lambda_B[t] = grad.lambda_Ah[t] = Vec{};
        }
        for_groups(s.states, [&]<int count>(int64_t n) {
          scan_states_backward<count>(s, chunk, parameters[i].A_log2.data(), n, state.data(),
                                      sum.flow.data(), sum.A.data(), grad);
        });
        for (int64_t t = 0; t < chunk.size; ++t) {
          block.add(grad_u_map + chunk.position[t] * s.channels, grad.lambda_B[t] * chunk.dt[t]);
          const Vec grad_dt = grad.lambda_B[t] * chunk.u[t] + grad.lambda_Ah[t] * ln_2;
          grad.x[t] *= grad_dt;
          sum.dt_bias += grad.x[t];
        }
        add_grad_dt_weight(chunk, grad, sum.dt_weight);
        const auto add_low = s.rank <= lanes / 4   ? add_grad_low<lanes / 4>
                             : s.rank <= lanes / 2 ? add_grad_low<lanes / 2>
                                                   : add_grad_low<lanes>;
        add_low(chunk.size, s.rank, parameters[i].dt_weight.data(), grad);
      }
    }
    for (size_t i = 0; i < blocks.size(); ++i) gradients[i].store_to(s, out, k, blocks[i]);
  }
}

}  // namespace
}  // namespace mambaad
