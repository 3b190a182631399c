// W floats that are computed on together, on the vector extensions of GCC and Clang: the same
// source serves every instruction set, and the compiler's flags choose the instructions.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace mambaad {

// Lanes of the widest register the compiler may use here. Each translation unit that includes
// this file has its own width, and with it its own distinct types.
#if defined(__AVX512F__)
constexpr int lanes = 16;
#elif defined(__AVX2__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif

typedef float Vec __attribute__((vector_size(lanes * 4)));
typedef int32_t VecInt __attribute__((vector_size(lanes * 4)));
typedef float Half __attribute__((vector_size(lanes * 2)));

// Internal linkage on purpose: the same names are compiled once for each instruction set.
namespace {

inline Vec broadcast(float x) { return Vec{} + x; }

inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

// The first `count` lanes; the others are zero, and are left alone when storing.
inline Vec load(const float* p, int count) {
  if (count == lanes) return load(p);
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p);
#else
  Vec v{};
  std::memcpy(&v, p, sizeof(float) * count);
  return v;
#endif
}

inline void store(float* p, Vec v, int count) {
  if (count == lanes) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), v);
#else
  std::memcpy(p, &v, sizeof(float) * count);
#endif
}

// Adds the first half of the lanes to what is at `low`, the second to what is at `high`.
inline void add_halves(float* low, float* high, Vec v) {
  Half halves[2], at;
  std::memcpy(halves, &v, sizeof v);
  std::memcpy(&at, low, sizeof at);
  at += halves[0];
  std::memcpy(low, &at, sizeof at);
  std::memcpy(&at, high, sizeof at);
  at += halves[1];
  std::memcpy(high, &at, sizeof at);
}

inline Vec select(VecInt mask, Vec yes, Vec no) {
  return (Vec)(((VecInt)yes & mask) | ((VecInt)no & ~mask));
}

// A NaN in b stays, one in a does not: what may be NaN comes second.
inline Vec max(Vec a, Vec b) { return select(a > b, a, b); }
inline Vec min(Vec a, Vec b) { return select(a < b, a, b); }

// 2^x for every float: 2^round(x) times a polynomial of degree 5 for 2^f, |f| <= 1/2, whose
// constant is exactly 1, so that the error vanishes with x (the scan multiplies thousands of
// factors near 1). Relative error below 2.5e-7; below 2^-126 it is 0 or 2^-126.
inline Vec exp2(Vec x) {
#if defined(__AVX512F__)
  const Vec whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Vec f = x - whole;
#else
  const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Vec in_range = min(broadcast(127.0f), max(broadcast(-126.0f), x));
  const Vec shifted = in_range + shifter;
  const Vec f = in_range - (shifted - shifter);
#endif
  Vec p = broadcast(0x1.5bba14p-10f);
  p = p * f + 0x1.3cea88p-7f;
  p = p * f + 0x1.c6b752p-5f;
  p = p * f + 0x1.ebf9bcp-3f;
  p = p * f + 0x1.62e42ap-1f;
  p = p * f + 1.0f;
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, whole);
#else
  return (Vec)((VecInt)p + ((VecInt)shifted << 23));
#endif
}

inline Vec exp(Vec x) { return exp2(x * 1.44269504f); }

// log(1 + e) for e in [0, 1], as 2 atanh(e / (2 + e)); absolute error below 2e-7, and relative
// error of the same size as e goes to 0.
inline Vec log1p_unit(Vec e) {
  const Vec s = e / (e + 2.0f);
  const Vec q = s * s;
  Vec p = broadcast(0.0f);
  p = p * q + (2.0f / 13);
  p = p * q + (2.0f / 11);
  p = p * q + (2.0f / 9);
  p = p * q + (2.0f / 7);
  p = p * q + (2.0f / 5);
  p = p * q + (2.0f / 3);
  p = p * q + 2.0f;
  return p * s;
}

// softplus(x) = log(1 + exp(x)) without overflow; also its slope, the sigmoid, where wanted.
inline Vec softplus(Vec x, Vec* slope = nullptr) {
  const Vec e = exp(-max(x, -x));
  if (slope) *slope = select(x >= 0.0f, broadcast(1.0f), e) / (e + 1.0f);
  return max(broadcast(0.0f), x) + log1p_unit(e);
}

// Lane i of the result is the sum of the lanes of v[i], for `lanes` vectors: a tree of pairwise
// additions, each of which halves the number of vectors and of lanes still to be added.
#if defined(__AVX512F__)
inline Vec row_sums(const Vec* v) {
  __m512 a[8], b[4], c[2];
  for (int i = 0; i < 8; ++i)
    a[i] = _mm512_unpacklo_ps(v[i], v[i + 8]) + _mm512_unpackhi_ps(v[i], v[i + 8]);
  for (int i = 0; i < 4; ++i)
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 4]) + _mm512_unpackhi_ps(a[i], a[i + 4]);
  for (int i = 0; i < 2; ++i)
    c[i] = _mm512_shuffle_f32x4(b[i], b[i + 2], 0x88) + _mm512_shuffle_f32x4(b[i], b[i + 2], 0xdd);
  const __m512 d =
      _mm512_shuffle_f32x4(c[0], c[1], 0x88) + _mm512_shuffle_f32x4(c[0], c[1], 0xdd);
  const __m512i place =
      _mm512_setr_epi32(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15);
  return _mm512_permutexvar_ps(place, d);
}
#elif defined(__AVX2__)
inline Vec row_sums(const Vec* v) {
  __m256 half[2];
  for (int i = 0; i < 2; ++i)
    half[i] = _mm256_hadd_ps(_mm256_hadd_ps(v[4 * i], v[4 * i + 1]),
                             _mm256_hadd_ps(v[4 * i + 2], v[4 * i + 3]));
  return _mm256_permute2f128_ps(half[0], half[1], 0x20) +
         _mm256_permute2f128_ps(half[0], half[1], 0x31);
}
#else
inline Vec row_sums(const Vec* v) {
  Vec sums{};
  for (int i = 0; i < lanes; ++i)
    for (int j = 0; j < lanes; ++j) sums[i] += v[i][j];
  return sums;
}
#endif

}  // namespace
}  // namespace mambaad
