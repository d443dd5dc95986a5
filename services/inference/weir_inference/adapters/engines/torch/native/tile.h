// The one inner loop: rows of activations times panels of weights, sums kept in registers.
#pragma once

#include <algorithm>
#include <utility>

#include "formats.h"

namespace weir {

#ifdef __AVX512F__
constexpr int ROWS_MAX = 12;  // with 2 panels: 24 sums, 2 weights and an activation in 32 registers
constexpr int SUMS_MAX = 24;
#else
constexpr int ROWS_MAX = 6;  // 12 sums, 2 weights and an activation in 16 registers
constexpr int SUMS_MAX = 12;
#endif
constexpr int SIDE_BY_SIDE_MAX = 4;
constexpr int AHEAD = 4096;  // bytes between what is computed with and what is asked of memory
constexpr int LINE = 64;     // bytes of a line of the cache

// How many panels stand side by side: enough sums in flight to hide the latency of an addition.
constexpr int panels_for(int rows) {
  return rows * VECS * 4 <= SUMS_MAX ? SIDE_BY_SIDE_MAX : rows * VECS * 2 <= SUMS_MAX ? 2 : 1;
}

// Panels that follow each other in memory, and the one where reading goes on after them, if known.
struct Panels {
  const char* first;
  std::size_t bytes;  // of one
  const char* then = nullptr;

  const char* operator[](int p) const { return first + p * bytes; }
  Panels from(int p) const { return {first + p * bytes, bytes, then}; }
};

// The block of weights that is read next, where one serves many rows: its lines are asked for one by
// one, evenly over all the work on the block before, so that neither waits for the other.
struct Next {
  const char* first;
  std::size_t stride;  // from one panel's lines to the other's
  int lines;           // of a panel
  int two;             // 1: of two panels, in turn; 0: of one
  int asked = 0, until = 0;

  // The lines that a tile of this share of the rows asks for.
  void begin(int tile, int n_tiles) { until = (lines << two) * (tile + 1) / n_tiles; }

  inline __attribute__((always_inline)) void ask() {
    if (asked >= until) return;
    const std::size_t panel = asked & two, line = asked >> two;
    _mm_prefetch(first + panel * stride + line * LINE, _MM_HINT_T0);
    ++asked;
  }
};

// Where weights are when a tile begins: still in memory, or in the cache already.
enum class Place { MEMORY, CACHE };

// The weights of a tile, k by k.
template <class Format, int PANELS, Place PLACE>
struct Weights {
  using Reader = typename Format::Reader;

  Reader readers[PANELS];
  Next* next;                  // PLACE is CACHE: what is asked for meanwhile, or null
  const char* end = nullptr;   // PLACE is MEMORY: of the first panel,
  std::size_t bytes = 0;       // of a panel,
  std::ptrdiff_t after = 0;    // and from the first panel's end to where reading goes on

  template <class AnyPanels, int... P>
  Weights(const AnyPanels& panels, bool last, Next* next_block, std::integer_sequence<int, P...>)
      : readers{Reader(panels[P])...}, next(next_block) {
    if constexpr (PLACE == Place::MEMORY) {
      bytes = panels.bytes;
      end = panels.first + bytes;
      after = !last ? (PANELS - 1) * bytes : panels.then ? panels.then - end : 0;
    }
  }

  void open(int k) {
#pragma GCC unroll 4
    for (int p = 0; p < PANELS; ++p) readers[p].open(k);
  }

  // Asks for memory that is read soon.
  template <int ROWS>
  inline __attribute__((always_inline)) void prefetch(int k) const {
    if constexpr (PLACE == Place::CACHE) {
      if (next) next->ask();
    } else if constexpr (ROWS >= Format::ASK_AHEAD_ROWS) {
      const char* soon = static_cast<const char*>(readers[0].place(k)) + AHEAD;
      if (soon >= end) soon += after;
#pragma GCC unroll 4
      for (int p = 0; p < PANELS; ++p) _mm_prefetch(soon + p * bytes, _MM_HINT_T0);
    }
  }
};

// sum[r][p] += a[r][k + HALF] · w[p][k + HALF], or of both halves where they are one vector.
template <class Format, int HALF, int ROWS, int PANELS, Place PLACE>
inline __attribute__((always_inline)) void multiply_half(const typename Format::Input* a,
                                                         std::ptrdiff_t lda,
                                                         const Weights<Format, PANELS, PLACE>& weights,
                                                         int k, Vec (&sum)[ROWS][PANELS][VECS]) {
  if constexpr (LANES == 16) {  // there are registers for a weight of each panel
    Columns<typename Format::Input> w[PANELS];
#pragma GCC unroll 4
    for (int p = 0; p < PANELS; ++p) w[p] = weights.readers[p].template at<HALF>(k);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const auto x = spread_input(a + r * lda + k + HALF);
#pragma GCC unroll 4
      for (int p = 0; p < PANELS; ++p) sum[r][p][0] = multiply_add(x, w[p].part[0], sum[r][p][0]);
    }
  } else {
#pragma GCC unroll 4
    for (int p = 0; p < PANELS; ++p) {
      const auto w = weights.readers[p].template at<HALF>(k);
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; ++r) {
        const auto x = spread_input(a + r * lda + k + HALF);
#pragma GCC unroll 2
        for (int v = 0; v < VECS; ++v) sum[r][p][v] = multiply_add(x, w.part[v], sum[r][p][v]);
      }
    }
  }
}

template <class Format, int ROWS, int PANELS, Place PLACE>
inline __attribute__((always_inline)) void multiply(const typename Format::Input* a,
                                                    std::ptrdiff_t lda,
                                                    const Weights<Format, PANELS, PLACE>& weights,
                                                    int from, int to,
                                                    Vec (&sum)[ROWS][PANELS][VECS]) {
  for (int k = from; k < to; k += 2) {
    weights.template prefetch<ROWS>(k);
    multiply_half<Format, 0>(a, lda, weights, k, sum);
    if constexpr (Format::HALVES == 2) multiply_half<Format, 1>(a, lda, weights, k, sum);
  }
}

template <int ROWS, int PANELS, class F>
inline __attribute__((always_inline)) void each_sum(F f) {
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < PANELS; ++p)
#pragma GCC unroll 2
      for (int v = 0; v < VECS; ++v) f(r, p, v);
}

// sums[r][p·16 + c] (+)= Σ_k a[r][k] · w[p][k][c] for k in [from, to), both even. Every sum is one
// chain of additions in the order of k, whatever the tile: a row's result does not depend on its
// neighbours. `last` says that these are the last of their panels.
template <class Format, Place PLACE, int ROWS, int PANELS, class AnyPanels>
inline void tile(const typename Format::Input* a, std::ptrdiff_t lda, const AnyPanels& panels,
                 bool last, Next* next, int from, int to, bool accumulate, float* sums,
                 std::ptrdiff_t ld_sums) {
  Weights<Format, PANELS, PLACE> weights(panels, last, next,
                                         std::make_integer_sequence<int, PANELS>{});
  Vec sum[ROWS][PANELS][VECS];
  each_sum<ROWS, PANELS>([&](int r, int p, int v) __attribute__((always_inline)) {
    sum[r][p][v] = accumulate ? load(sums + r * ld_sums + p * PANEL + v * LANES) : zero();
  });
  if constexpr (Format::STEP == 2) {
    multiply<Format>(a, lda, weights, from, to, sum);
  } else {
    for (int k = from; k < to; k += Format::STEP) {
      const int end = std::min(to, k + Format::STEP);
      weights.open(k);
      if constexpr (Format::SCALES_STEPS) {
        Vec step[ROWS][PANELS][VECS];
        each_sum<ROWS, PANELS>([&](int r, int p, int v) __attribute__((always_inline)) {
          step[r][p][v] = zero();
        });
        multiply<Format>(a, lda, weights, k, end, step);
        each_sum<ROWS, PANELS>([&](int r, int p, int v) __attribute__((always_inline)) {
          sum[r][p][v] = fma(step[r][p][v], weights.readers[p].scale.part[v], sum[r][p][v]);
        });
      } else {
        multiply<Format>(a, lda, weights, k, end, sum);
      }
    }
  }
  each_sum<ROWS, PANELS>([&](int r, int p, int v) __attribute__((always_inline)) {
    store(sums + r * ld_sums + p * PANEL + v * LANES, sum[r][p][v]);
  });
}

namespace detail {

template <class Format, Place PLACE, int ROWS, class AnyPanels>
void row_tile(const typename Format::Input* a, std::ptrdiff_t lda, const AnyPanels& panels,
              int n_panels, Next* next, int from, int to, bool accumulate, float* sums,
              std::ptrdiff_t ld_sums) {
  constexpr int SIDE_BY_SIDE = panels_for(ROWS);
  int p = 0;
  for (; p + SIDE_BY_SIDE <= n_panels; p += SIDE_BY_SIDE)
    tile<Format, PLACE, ROWS, SIDE_BY_SIDE>(a, lda, panels.from(p), p + 2 * SIDE_BY_SIDE > n_panels,
                                            next, from, to, accumulate, sums + p * PANEL, ld_sums);
  for (; p < n_panels; ++p)
    tile<Format, PLACE, ROWS, 1>(a, lda, panels.from(p), true, next, from, to, accumulate,
                                 sums + p * PANEL, ld_sums);
}

template <class Format, Place PLACE, class AnyPanels, int... ROWS>
void pick(int rows, std::integer_sequence<int, ROWS...>, const typename Format::Input* a,
          std::ptrdiff_t lda, const AnyPanels& panels, int n_panels, Next* next, int from, int to,
          bool accumulate, float* sums, std::ptrdiff_t ld_sums) {
  (void)((rows == ROWS + 1 && (row_tile<Format, PLACE, ROWS + 1>(a, lda, panels, n_panels, next,
                                                                 from, to, accumulate, sums,
                                                                 ld_sums),
                               true)) ||
         ...);
}

}  // namespace detail

// Any number of rows and panels, rows in tiles of nearly equal height. `next` is asked for meanwhile.
template <class Format, Place PLACE, class AnyPanels>
void tiles(const typename Format::Input* a, std::ptrdiff_t lda, int rows, const AnyPanels& panels,
           int n_panels, int from, int to, bool accumulate, float* sums, std::ptrdiff_t ld_sums,
           Next* next = nullptr) {
  const int n_tiles = (rows + ROWS_MAX - 1) / ROWS_MAX;
  for (int t = 0; t < n_tiles; ++t) {
    const int first = rows * t / n_tiles, last = rows * (t + 1) / n_tiles;
    if (next) next->begin(t, n_tiles);
    detail::pick<Format, PLACE>(last - first, std::make_integer_sequence<int, ROWS_MAX>{},
                                a + first * lda, lda, panels, n_panels, next, from, to, accumulate,
                                sums + first * ld_sums, ld_sums);
  }
}

}  // namespace weir
