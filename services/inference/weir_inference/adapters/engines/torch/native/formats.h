// How weights lie in memory: panels of 16 output columns, inputs one after the other.
//
// A panel is read from front to back while its 16 columns accumulate, so decoding streams memory.
// Each format gives `bytes(k)`: a panel's size for k inputs; `each<AHEAD>(panel, from, to, f)`: calls
// f(input, columns) with the 16 columns' weights as vectors, inputs ascending, and prefetches what
// lies AHEAD bytes on where that was measured to pay; `encode`: writes one panel.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "simd.h"

namespace weir {

struct Columns {
  Vec part[VECS];
};

// Asks for memory that is read soon; the hardware alone guesses well only where nothing but reading
// is to be done, which is at one row.
template <int AHEAD>
inline void prefetch(const void* now) {
  if constexpr (AHEAD > 0) _mm_prefetch(static_cast<const char*>(now) + AHEAD, _MM_HINT_T0);
}

// [k][16] fp32.
struct F32 {
  static constexpr int STEP = 2;  // inputs decoded in one go

  static std::size_t bytes(int k) { return sizeof(float) * PANEL * k; }

  template <int AHEAD = 0, class F>
  static inline __attribute__((always_inline)) void each(const char* panel, int from, int to, F f) {
    const float* p = reinterpret_cast<const float*>(panel);
    for (int k = from; k < to; ++k) {
      Columns columns;
      for (int v = 0; v < VECS; ++v) columns.part[v] = load(p + k * PANEL + v * LANES);
      f(k, columns);
    }
  }

  static void encode(const float* const* rows, int k, char* panel, float*) {
    float* p = reinterpret_cast<float*>(panel);
    for (int i = 0; i < k; ++i)
      for (int c = 0; c < PANEL; ++c) p[i * PANEL + c] = rows[c] ? rows[c][i] : 0.0f;
  }
};

// [k / 2][16][2] bf16: inputs in pairs, as the bf16 dot product of AVX-512 takes them.
struct BF16 {
  static constexpr int STEP = 2;  // inputs decoded in one go

  static std::size_t bytes(int k) { return sizeof(bf16) * PANEL * k; }

  template <int AHEAD = 0, class F>
  static inline __attribute__((always_inline)) void each(const char* panel, int from, int to, F f) {
    const bf16* p = reinterpret_cast<const bf16*>(panel);
    for (int k = from; k < to; k += 2) {
      Columns even, odd;
      prefetch<AHEAD>(p + k * PANEL);
      for (int v = 0; v < VECS; ++v) even.part[v] = even_bf16(p + k * PANEL + v * 2 * LANES);
      f(k, even);
      for (int v = 0; v < VECS; ++v) odd.part[v] = odd_bf16(p + k * PANEL + v * 2 * LANES);
      f(k + 1, odd);
    }
  }

  static void encode(const float* const* rows, int k, char* panel, float*) {
    bf16* p = reinterpret_cast<bf16*>(panel);
    for (int i = 0; i < k; i += 2)
      for (int c = 0; c < PANEL; ++c)
        for (int odd = 0; odd < 2; ++odd) *p++ = rows[c] ? narrow(rows[c][i + odd]) : bf16{0};
  }
};

// [k][16] int8 with one fp32 scale a column, applied to the sums: symmetric, absmax / 127.
struct Int8 {
  static constexpr int STEP = 2;  // inputs decoded in one go

  static std::size_t bytes(int k) { return static_cast<std::size_t>(PANEL) * k; }

  template <int AHEAD = 0, class F>
  static inline __attribute__((always_inline)) void each(const char* panel, int from, int to, F f) {
    const std::int8_t* p = reinterpret_cast<const std::int8_t*>(panel);
    for (int k = from; k < to; ++k) {
      Columns columns;
      for (int v = 0; v < VECS; ++v) columns.part[v] = widen_int8(p + k * PANEL + v * LANES);
      f(k, columns);
    }
  }

  static void encode(const float* const* rows, int k, char* panel, float* scales) {
    std::int8_t* p = reinterpret_cast<std::int8_t*>(panel);
    for (int c = 0; c < PANEL; ++c) {
      float most = 0.0f;
      if (rows[c])
        for (int i = 0; i < k; ++i) most = std::max(most, std::fabs(rows[c][i]));
      scales[c] = most / 127.0f;
      const float inverse = most > 0.0f ? 127.0f / most : 0.0f;
      for (int i = 0; i < k; ++i)
        p[i * PANEL + c] =
            rows[c] ? static_cast<std::int8_t>(std::lrint(rows[c][i] * inverse)) : std::int8_t{0};
    }
  }
};

// Groups of 32 inputs: 16 bf16 scales, then [16 pairs][16 columns] bytes, the even input in the low
// half: 4.5 bits a weight. The scale maps the largest of a group to -8, as ggml's Q4_0 does.
struct Int4 {
  static constexpr int GROUP = 32;
  static constexpr int STEP = GROUP;
  static constexpr int GROUP_BYTES = PANEL * sizeof(bf16) + PANEL * GROUP / 2;

  static std::size_t bytes(int k) {
    return static_cast<std::size_t>(GROUP_BYTES) * ((k + GROUP - 1) / GROUP);
  }

  template <int AHEAD = 0, class F>
  static inline __attribute__((always_inline)) void each(const char* panel, int from, int to, F f) {
    for (int group = from / GROUP; group * GROUP < to; ++group) {
      const char* p = panel + static_cast<std::size_t>(group) * GROUP_BYTES;
      Columns scale, zero_point;
      for (int v = 0; v < VECS; ++v) {
        scale.part[v] = widen_bf16(reinterpret_cast<const bf16*>(p) + v * LANES);
        zero_point.part[v] = mul(scale.part[v], spread(-8.0f));
      }
      const std::uint8_t* q = reinterpret_cast<const std::uint8_t*>(p) + PANEL * sizeof(bf16);
      const int first = group * GROUP, last = std::min(to, first + GROUP);
      for (int k = first; k < last; k += 2, q += PANEL) {
        Columns even, odd;
        for (int v = 0; v < VECS; ++v)
          even.part[v] = fma(low_nibbles(q + v * LANES), scale.part[v], zero_point.part[v]);
        f(k, even);
        for (int v = 0; v < VECS; ++v)
          odd.part[v] = fma(high_nibbles(q + v * LANES), scale.part[v], zero_point.part[v]);
        f(k + 1, odd);
      }
    }
  }

  static void encode(const float* const* rows, int k, char* panel, float*) {
    std::memset(panel, 0, bytes(k));
    for (int first = 0; first < k; first += GROUP) {
      char* p = panel + static_cast<std::size_t>(first / GROUP) * GROUP_BYTES;
      for (int c = 0; c < PANEL; ++c) {
        const float* row = rows[c];
        float largest = 0.0f;
        for (int i = first; row && i < std::min(k, first + GROUP); ++i)
          if (std::fabs(row[i]) > std::fabs(largest)) largest = row[i];
        const bf16 scale = narrow(largest / -8.0f);
        reinterpret_cast<bf16*>(p)[c] = scale;
        const float inverse = widen(scale) != 0.0f ? 1.0f / widen(scale) : 0.0f;
        for (int i = 0; i < GROUP; ++i) {
          const float x = row && first + i < k ? row[first + i] * inverse : 0.0f;
          const long q = std::clamp(std::lrint(x) + 8, 0L, 15L);
          p[PANEL * sizeof(bf16) + i / 2 * PANEL + c] |= static_cast<char>(q << (i % 2 * 4));
        }
      }
    }
  }
};

}  // namespace weir
