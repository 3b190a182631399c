// The selective scan over K directions of a feature map: plain C++, no Python, no torch.
//
// For every direction k the map's L positions are visited in the order of the index table;
// with u_t the D channels, low_t, B_t, C_t the projected row at the t-th visited position:
//     dt_t = softplus(dt_weight low_t + dt_bias)                       (D)
//     h_t  = exp(dt_t A) * h_(t-1) + (dt_t u_t) B_t                    (D x N)
//     y    = sum over k of C_t . h_t + skip u_t, added where position t lies on the map.
//
// All arrays are float32, contiguous and row-major, with the shapes given below.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mambaad {

// Positions between two stored states; the backward recomputes that many steps at a time.
constexpr int64_t chunk_length = 32;

struct Shape {
  int64_t batch, length, channels, directions, states, rank;

  int64_t row() const { return rank + 2 * states; }       // dt_low | B | C of one direction
  int64_t rows() const { return directions * row(); }     // one row of `proj`
  int64_t chunks() const { return (length + chunk_length - 1) / chunk_length; }
};

struct Inputs {
  const float* u;          // batch, length, channels
  const float* proj;       // batch, length, directions * (rank + 2 * states)
  const float* dt_weight;  // directions, channels, rank
  const float* dt_bias;    // directions, channels
  const float* A;          // directions, channels, states; not positive
  const float* skip;       // directions, channels
  const int32_t* order;    // directions, length: the position visited at each step
};

// Every gradient has the shape of its input; what it held before is overwritten.
struct Gradients {
  float *u, *proj, *dt_weight, *dt_bias, *A, *skip;
};

// The kernel variants this processor can run, the fastest first.
std::vector<std::string> variants();

// `y`: batch, length, channels. `carry`: null, or batch, directions, chunks, states, channels,
// which receives the state before each chunk, for the backward.
// Throws std::invalid_argument for a variant that is not among variants().
void selective_scan(const std::string& variant, int threads, const Shape&, const Inputs&,
                    float* y, float* carry);

// Runs task(0) .. task(count - 1), each once, on any threads, and returns when all are done.
using Run = std::function<void(int64_t count, const std::function<void(int64_t)>& task)>;

// The same values on the caller's threads, about `threads` of them.
void selective_scan(const std::string& variant, int threads, const Shape&, const Inputs&,
                    float* y, float* carry, const Run&);

// The same values for the same number of threads, whatever their timing.
void selective_scan_backward(const std::string& variant, int threads, const Shape&,
                             const Inputs&, const float* carry, const float* grad_y,
                             const Gradients&);

// Instance norm (variance + 1e-5) and SiLU of maps batch, length, channels, in place.
void instance_norm_silu(const std::string& variant, int threads, int64_t batch, int64_t length,
                        int64_t channels, float* x);

}  // namespace mambaad
