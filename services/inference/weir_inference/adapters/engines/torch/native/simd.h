// Vectors of fp32: 16 lanes with AVX-512, 8 with AVX2. Everything above is written once over them.
// With AVX512-BF16 also pairs of bf16, whose dot product does twice the work of an fp32 product.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace weir {

using bf16 = std::uint16_t;

constexpr int PANEL = 16;  // columns of a weight panel, tokens of a KV block

#ifdef __AVX512F__
constexpr int LANES = 16;
using Vec = __m512;

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec spread(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline float sum(Vec a) { return _mm512_reduce_add_ps(a); }
inline float largest(Vec a) { return _mm512_reduce_max_ps(a); }
inline Vec round_even(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
// a · 2^n for whole n in fp32's range of exponents.
inline Vec scale_by_power(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }
// y where x ≥ limit, else 0.
inline Vec zero_below(float limit, Vec x, Vec y) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, spread(limit), _CMP_GE_OQ), y);
}
// Of 16 pairs (even, odd) of bf16: the even ones, the odd ones.
inline Vec even_bf16(const bf16* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
inline Vec odd_bf16(const bf16* p) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}
inline Vec widen_bf16(const bf16* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
inline Vec widen_int8(const std::int8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
// The low, the high halves of bytes, as 0…15.
inline Vec low_nibbles(const std::uint8_t* p) {
  const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_cvtepi32_ps(_mm512_and_si512(wide, _mm512_set1_epi32(15)));
}
inline Vec high_nibbles(const std::uint8_t* p) {
  const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_cvtepi32_ps(_mm512_srli_epi32(wide, 4));
}
#else
constexpr int LANES = 8;
using Vec = __m256;

inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec spread(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline float sum(Vec a) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
inline float largest(Vec a) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
inline Vec round_even(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | 8); }
// a · 2^n for whole n in fp32's range of exponents.
inline Vec scale_by_power(Vec a, Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
// y where x ≥ limit, else 0.
inline Vec zero_below(float limit, Vec x, Vec y) {
  return _mm256_and_ps(_mm256_cmp_ps(x, spread(limit), _CMP_GE_OQ), y);
}
inline __m256i bytes32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
// Of 8 pairs (even, odd) of bf16: the even ones, the odd ones.
inline Vec even_bf16(const bf16* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(bytes32(p), 16)); }
inline Vec odd_bf16(const bf16* p) {
  return _mm256_castsi256_ps(
      _mm256_and_si256(bytes32(p), _mm256_set1_epi32(static_cast<int>(0xffff0000))));
}
inline Vec widen_bf16(const bf16* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
inline Vec widen_int8(const std::int8_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
// The low, the high halves of bytes, as 0…15.
inline Vec low_nibbles(const std::uint8_t* p) {
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return _mm256_cvtepi32_ps(_mm256_and_si256(wide, _mm256_set1_epi32(15)));
}
inline Vec high_nibbles(const std::uint8_t* p) {
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return _mm256_cvtepi32_ps(_mm256_srli_epi32(wide, 4));
}
#endif

constexpr int VECS = PANEL / LANES;  // vectors across a panel

inline float widen(bf16 x) {
  union { std::uint32_t bits; float value; } both{static_cast<std::uint32_t>(x) << 16};
  return both.value;
}

// Rounds to nearest, ties to even; NaN stays NaN.
inline bf16 narrow(float x) {
  union { float value; std::uint32_t bits; } both{x};
  if ((both.bits & 0x7fffffff) > 0x7f800000) return static_cast<bf16>((both.bits >> 16) | 0x40);
  return static_cast<bf16>((both.bits + 0x7fff + ((both.bits >> 16) & 1)) >> 16);
}

// e^x to 2 ulp for x ≤ 88, and exactly 0 below -87: a polynomial on [-ln2/2, ln2/2] (Cephes' expf).
inline Vec exp(Vec x) {
  const Vec given = x;
  x = max(x, spread(-87.0f));
  const Vec n = round_even(mul(x, spread(1.44269504f)));
  Vec r = fma(n, spread(-0.693359375f), x);
  r = fma(n, spread(2.12194440e-4f), r);
  Vec p = spread(1.9875691500e-4f);
  p = fma(p, r, spread(1.3981999507e-3f));
  p = fma(p, r, spread(8.3334519073e-3f));
  p = fma(p, r, spread(4.1665795894e-2f));
  p = fma(p, r, spread(1.6666665459e-1f));
  p = fma(p, r, spread(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, spread(1.0f)));
  return zero_below(-87.0f, given, scale_by_power(p, n));
}

// Weights of 16 columns, and activations to multiply them with: one fp32 input at a time, or, with
// AVX512-BF16, two of bf16.
template <class Input>
struct Columns;
template <>
struct Columns<float> {
  Vec part[VECS];
};

inline Vec spread_input(const float* x) { return spread(*x); }
inline Vec multiply_add(Vec x, Vec w, Vec sum) { return fma(x, w, sum); }
inline void store_input(float* to, Vec x) { store(to, x); }
inline void narrow_all(const float* from, int n, float* to) { std::memcpy(to, from, n * sizeof *to); }

#ifdef __AVX512BF16__
using Narrow = bf16;
using Pairs = __m512bh;
constexpr int HALVES_OF_A_PAIR = 1;

template <>
struct Columns<bf16> {
  Pairs part[VECS];
};

inline Pairs as_pairs(__m512i bits) { return reinterpret_cast<Pairs>(bits); }
inline Pairs spread_input(const bf16* x) {
  int both;
  std::memcpy(&both, x, sizeof both);
  return as_pairs(_mm512_set1_epi32(both));
}
inline Vec multiply_add(Pairs x, Pairs w, Vec sum) { return _mm512_dpbf16_ps(sum, x, w); }
inline void store(bf16* p, Pairs x) { _mm512_storeu_si512(p, reinterpret_cast<__m512i>(x)); }
// Rounds to nearest, ties to even.
inline void store_input(bf16* to, Vec x) {
  const __m256bh few = _mm512_cvtneps_pbh(x);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(few));
}
inline void narrow_all(const float* from, int n, bf16* to) {
  int i = 0;
  for (; i + LANES <= n; i += LANES) store_input(to + i, load(from + i));
  for (; i < n; ++i) to[i] = narrow(from[i]);
}

template <int>
inline Columns<bf16> columns_of_bf16(const bf16* p) {
  return {{as_pairs(_mm512_loadu_si512(p))}};
}
template <int>
inline Columns<bf16> columns_of_int8(const std::int8_t* p) {
  return {{_mm512_cvtne2ps_pbh(widen_int8(p + LANES), widen_int8(p))}};
}
// Not scaled: -8 … 7.
template <int>
inline Columns<bf16> columns_of_int4(const std::uint8_t* p, const Columns<float>&) {
  alignas(64) static constexpr bf16 WHOLE[2 * LANES] = {
      0xC100, 0xC0E0, 0xC0C0, 0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80,
      0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0, 0x40E0};
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m512i halves = _mm512_and_si512(_mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12)),
                                          _mm512_set1_epi32(0x000F000F));
  return {{as_pairs(_mm512_permutexvar_epi16(halves, _mm512_load_si512(WHOLE)))}};
}
#else
using Narrow = float;
constexpr int HALVES_OF_A_PAIR = 2;

inline void narrow_all(const float* from, int n, bf16* to) {
  for (int i = 0; i < n; ++i) to[i] = narrow(from[i]);
}

template <int HALF>
inline Columns<float> columns_of_bf16(const bf16* p) {
  Columns<float> columns;
  for (int v = 0; v < VECS; ++v)
    columns.part[v] = HALF ? odd_bf16(p + v * 2 * LANES) : even_bf16(p + v * 2 * LANES);
  return columns;
}
template <int HALF>
inline Columns<float> columns_of_int8(const std::int8_t* p) {
  Columns<float> columns;
  for (int v = 0; v < VECS; ++v) columns.part[v] = widen_int8(p + HALF * PANEL + v * LANES);
  return columns;
}
template <int HALF>
inline Columns<float> columns_of_int4(const std::uint8_t* p, const Columns<float>& scale) {
  Columns<float> columns;
  for (int v = 0; v < VECS; ++v) {
    const Vec whole = HALF ? high_nibbles(p + v * LANES) : low_nibbles(p + v * LANES);
    columns.part[v] = fma(whole, scale.part[v], mul(scale.part[v], spread(-8.0f)));
  }
  return columns;
}
#endif

}  // namespace weir
