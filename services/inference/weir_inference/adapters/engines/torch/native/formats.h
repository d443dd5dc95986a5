// How weights lie in memory: panels of 16 output columns, inputs in pairs, one after the other.
//
// A panel is read from front to back while its 16 columns accumulate, so decoding streams memory.
// Each format gives `bytes(k)`: a panel's size for k inputs; `encode`: writes one panel; `weight`:
// reads one weight back; and a `Reader` of a panel, which after `open(k)` has the weights of inputs
// k … k + STEP - 1: `at<HALF>(k)`, k even, where a pair of inputs is HALVES vectors a column.
// ASK_AHEAD_ROWS: from so many rows on memory is asked for ahead of its use. Where little more than
// reading is to be done, the hardware guesses as well by itself (measured on Zen 5, each format).
//
// With AVX512-BF16 activations are bf16 (`Input`) for all but fp32 weights, and a pair of inputs is
// one vector; else they are fp32.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "simd.h"

namespace weir {

constexpr int NEVER = 1 << 20;

// [k][16] fp32.
struct F32 {
  using Input = float;
  static constexpr int STEP = 2, HALVES = 2, ASK_AHEAD_ROWS = NEVER;
  static constexpr bool SCALES_STEPS = false;

  static std::size_t bytes(int k) { return sizeof(float) * PANEL * k; }
  static float weight(const char* panel, int k, int c) {
    return reinterpret_cast<const float*>(panel)[k * PANEL + c];
  }

  struct Reader {
    const float* panel;

    explicit Reader(const char* p) : panel(reinterpret_cast<const float*>(p)) {}
    void open(int) {}
    const void* place(int k) const { return panel + k * PANEL; }
    template <int HALF>
    Columns<float> at(int k) const {
      Columns<float> columns;
      for (int v = 0; v < VECS; ++v) columns.part[v] = load(panel + (k + HALF) * PANEL + v * LANES);
      return columns;
    }
  };

  static void encode(const float* const* rows, int k, char* panel, float*) {
    float* p = reinterpret_cast<float*>(panel);
    for (int i = 0; i < k; ++i)
      for (int c = 0; c < PANEL; ++c) p[i * PANEL + c] = rows[c] ? rows[c][i] : 0.0f;
  }
};

// [k / 2][16][2] bf16.
struct BF16 {
  using Input = Narrow;
  static constexpr int STEP = 2, HALVES = HALVES_OF_A_PAIR, ASK_AHEAD_ROWS = HALVES == 1 ? 5 : 2;
  static constexpr bool SCALES_STEPS = false;

  static std::size_t bytes(int k) { return sizeof(bf16) * PANEL * k; }
  static float weight(const char* panel, int k, int c) {
    return widen(reinterpret_cast<const bf16*>(panel)[k / 2 * 2 * PANEL + 2 * c + k % 2]);
  }

  struct Reader {
    const bf16* panel;

    explicit Reader(const char* p) : panel(reinterpret_cast<const bf16*>(p)) {}
    void open(int) {}
    const void* place(int k) const { return panel + k * PANEL; }
    template <int HALF>
    Columns<Narrow> at(int k) const {
      return columns_of_bf16<HALF>(panel + k * PANEL);
    }
  };

  static void encode(const float* const* rows, int k, char* panel, float*) {
    bf16* p = reinterpret_cast<bf16*>(panel);
    for (int i = 0; i < k; i += 2)
      for (int c = 0; c < PANEL; ++c)
        for (int odd = 0; odd < 2; ++odd) *p++ = rows[c] ? narrow(rows[c][i + odd]) : bf16{0};
  }
};

// int8 with one fp32 scale a column, applied to the sums: symmetric, absmax / 127. [k / 2][16][2]
// where a pair of inputs is one vector, else [k][16].
struct Int8 {
  using Input = Narrow;
  static constexpr int STEP = 2, HALVES = HALVES_OF_A_PAIR, ASK_AHEAD_ROWS = 1;
  static constexpr bool SCALES_STEPS = false;

  static std::size_t bytes(int k) { return static_cast<std::size_t>(PANEL) * k; }
  static float weight(const char* panel, int k, int c) { return panel_of(panel)[place_of(k, c)]; }

  struct Reader {
    const std::int8_t* panel;

    explicit Reader(const char* p) : panel(panel_of(p)) {}
    void open(int) {}
    const void* place(int k) const { return panel + k * PANEL; }
    template <int HALF>
    Columns<Narrow> at(int k) const {
      return columns_of_int8<HALF>(panel + k * PANEL);
    }
  };

  static void encode(const float* const* rows, int k, char* panel, float* scales) {
    std::int8_t* p = reinterpret_cast<std::int8_t*>(panel);
    for (int c = 0; c < PANEL; ++c) {
      float most = 0.0f;
      if (rows[c])
        for (int i = 0; i < k; ++i) most = std::max(most, std::fabs(rows[c][i]));
      scales[c] = most / 127.0f;
      const float inverse = most > 0.0f ? 127.0f / most : 0.0f;
      for (int i = 0; i < k; ++i)
        p[place_of(i, c)] =
            rows[c] ? static_cast<std::int8_t>(std::lrint(rows[c][i] * inverse)) : std::int8_t{0};
    }
  }

 private:
  static const std::int8_t* panel_of(const char* p) {
    return reinterpret_cast<const std::int8_t*>(p);
  }
  static int place_of(int k, int c) {
    return HALVES == 1 ? k / 2 * 2 * PANEL + 2 * c + k % 2 : k * PANEL + c;
  }
};

// Groups of 32 inputs: 16 bf16 scales, then [16 pairs][16 columns] bytes, the even input in the low
// half: 4.5 bits a weight. The scale maps the largest of a group to -8, as ggml's Q4_0 does. Where a
// pair of inputs is one vector of bf16, which holds whole numbers exactly, a group's sums are scaled;
// else its weights are.
struct Int4 {
  using Input = Narrow;
  static constexpr int GROUP = 32;
  static constexpr int STEP = GROUP, HALVES = HALVES_OF_A_PAIR, ASK_AHEAD_ROWS = 1;
  static constexpr bool SCALES_STEPS = HALVES == 1;
  static constexpr int SCALES_BYTES = PANEL * sizeof(bf16);
  static constexpr int GROUP_BYTES = SCALES_BYTES + PANEL * GROUP / 2;

  static std::size_t bytes(int k) {
    return static_cast<std::size_t>(GROUP_BYTES) * ((k + GROUP - 1) / GROUP);
  }
  static float weight(const char* panel, int k, int c) {
    const char* group = panel + bytes(k / GROUP * GROUP);
    const int both = group[SCALES_BYTES + k % GROUP / 2 * PANEL + c];
    const int whole = ((k % 2 ? both >> 4 : both) & 15) - 8;
    return static_cast<float>(whole) * widen(reinterpret_cast<const bf16*>(group)[c]);
  }

  struct Reader {
    const char* panel;
    const std::uint8_t* nibbles = nullptr;
    Columns<float> scale{};

    explicit Reader(const char* p) : panel(p) {}
    void open(int k) {
      const char* group = panel + bytes(k / GROUP * GROUP);
      for (int v = 0; v < VECS; ++v)
        scale.part[v] = widen_bf16(reinterpret_cast<const bf16*>(group) + v * LANES);
      nibbles = reinterpret_cast<const std::uint8_t*>(group) + SCALES_BYTES;
    }
    const void* place(int k) const { return nibbles + k % GROUP / 2 * PANEL; }
    template <int HALF>
    Columns<Narrow> at(int k) const {
      return columns_of_int4<HALF>(nibbles + k % GROUP / 2 * PANEL, scale);
    }
  };

  static void encode(const float* const* rows, int k, char* panel, float*) {
    std::memset(panel, 0, bytes(k));
    for (int first = 0; first < k; first += GROUP) {
      char* p = panel + bytes(first);
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
          p[SCALES_BYTES + i / 2 * PANEL + c] |= static_cast<char>(q << (i % 2 * 4));
        }
      }
    }
  }
};

}  // namespace weir
