// Vectors of `lanes` floats, on the vector extensions of GCC and Clang: the same source serves
// every instruction set, and the compiler's flags choose the instructions.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__) && !defined(MAMBAAD_GENERIC)
#include <arm_neon.h>
#define MAMBAAD_NEON
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
#if defined(MAMBAAD_NEON)
inline Vec max(Vec a, Vec b) { return vmaxq_f32(a, b); }  // a NaN in a stays too
inline Vec min(Vec a, Vec b) { return vminq_f32(a, b); }
#else
inline Vec max(Vec a, Vec b) { return select(a > b, a, b); }
inline Vec min(Vec a, Vec b) { return select(a < b, a, b); }
#endif

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

// 2^(a b) for -2^60 <= a b < 127: the factor by which a state decays, the innermost operation of
// the scan. Relative error below 4e-7, vanishing with a b; without AVX-512 the rounding of a b adds
// 4.2e-8 |a b|. Below 2^-126 it is 0 or 2^-126.
#if defined(__AVX512F__)
// 2^w times 2^f, w being a b rounded to a 32nd, so that |f| <= 1/64 needs a polynomial of degree
// 2 only: its coefficients are Taylor's, the linear one raised by 5e-6 against the cubic term.
// Of w the fraction is looked up in a table of two registers, and scalef takes the rest.
inline Vec exp2_product(Vec a, Vec b) {
  static constexpr float roots[32] = {
      0x1.000000p+0f, 0x1.059b0ep+0f, 0x1.0b5586p+0f, 0x1.11301ep+0f, 0x1.172b84p+0f,
      0x1.1d4874p+0f, 0x1.2387a6p+0f, 0x1.29e9e0p+0f, 0x1.306fe0p+0f, 0x1.371a74p+0f,
      0x1.3dea64p+0f, 0x1.44e086p+0f, 0x1.4bfdaep+0f, 0x1.5342b6p+0f, 0x1.5ab07ep+0f,
      0x1.6247ecp+0f, 0x1.6a09e6p+0f, 0x1.71f75ep+0f, 0x1.7a1148p+0f, 0x1.82589ap+0f,
      0x1.8ace54p+0f, 0x1.93737cp+0f, 0x1.9c4918p+0f, 0x1.a5503cp+0f, 0x1.ae89fap+0f,
      0x1.b7f770p+0f, 0x1.c199bep+0f, 0x1.cb720ep+0f, 0x1.d5818ep+0f, 0x1.dfc974p+0f,
      0x1.ea4afap+0f, 0x1.f50766p+0f};
  const Vec shifter = broadcast(0x1.8p18f);  // its last bit is worth a 32nd
  const Vec shifted = _mm512_fmadd_ps(a, b, shifter);
  const Vec whole = _mm512_sub_ps(shifted, shifter);
  const Vec f = _mm512_fmsub_ps(a, b, whole);
  const Vec root = _mm512_permutex2var_ps(load(roots), _mm512_castps_si512(shifted),
                                          load(roots + 16));
  const Vec p = _mm512_fmadd_ps(f, broadcast(0x1.ebfbe0p-3f), broadcast(0x1.62e4a2p-1f));
  return _mm512_scalef_ps(_mm512_fmadd_ps(root, p * f, root), whole);
}
#elif defined(MAMBAAD_NEON)
// As exp2, without its upper limit. A multiply-add overwrites its addend here, so that each step of
// Horner's scheme copies a constant first; by pairs of coefficients only three do, and the longest
// chain has three multiply-adds instead of five.
inline Vec exp2_product(Vec a, Vec b) {
  const float32x4_t shifter = vdupq_n_f32(12582912.0f);
  const float32x4_t x = vmaxq_f32(vdupq_n_f32(-126.0f), vmulq_f32(a, b));
  const float32x4_t shifted = vaddq_f32(x, shifter);
  const float32x4_t f = vsubq_f32(x, vsubq_f32(shifted, shifter));
  const float32x4_t f2 = vmulq_f32(f, f);
  const float32x4_t p45 = vfmaq_f32(vdupq_n_f32(0x1.3cea88p-7f), f, vdupq_n_f32(0x1.5bba14p-10f));
  const float32x4_t p23 = vfmaq_f32(vdupq_n_f32(0x1.ebf9bcp-3f), f, vdupq_n_f32(0x1.c6b752p-5f));
  const float32x4_t p01 = vfmaq_f32(vdupq_n_f32(1.0f), f, vdupq_n_f32(0x1.62e42ap-1f));
  const float32x4_t p = vfmaq_f32(p01, f2, vfmaq_f32(p23, f2, p45));
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p),
                                         vshlq_n_s32(vreinterpretq_s32_f32(shifted), 23)));
}
#else
inline Vec exp2_product(Vec a, Vec b) { return exp2(a * b); }
#endif

// x / (1 + exp(-x)), the sigmoid-weighted linear unit. Relative error below 4e-7 + 1.2e-7 |x|, the
// rounding of the exponent, from -80 on; below, where it is x times 2e-35 at most, that of -80.
inline Vec silu(Vec x) {
  // Further down the exponential would overflow, and the reciprocal of infinity give NaN.
  const Vec d = 1.0f + exp(min(broadcast(80.0f), -x));
#if defined(__AVX512F__)
  const Vec r = _mm512_rcp14_ps(d);  // a division takes as long as all the rest together
  return x * (r * (2.0f - d * r));
#else
  return x / d;
#endif
}

// log(1 + e) for e in [0, 1]; relative error below 2e-7.
inline Vec log1p_unit(Vec e) {
  Vec p = broadcast(0x1.5f8f48p-8f);
  p = p * e - 0x1.ec9164p-6f;
  p = p * e + 0x1.4468f4p-4f;
  p = p * e - 0x1.19ac48p-3f;
  p = p * e + 0x1.8843bep-3f;
  p = p * e - 0x1.fd12fep-3f;
  p = p * e + 0x1.5535d8p-2f;
  p = p * e - 0x1.ffff14p-2f;
  return (p * e + 1.0f) * e;
}

// softplus(x) = log(1 + exp(x)) without overflow; also its slope, the sigmoid, where wanted.
// Relative error below 4e-7 + 7e-8 |x|, the rounding of the exponent; 0 below -87.
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
#elif defined(MAMBAAD_NEON)
inline Vec row_sums(const Vec* v) {
  return vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3]));
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
