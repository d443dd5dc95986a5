// The one inner loop: rows of activations times panels of weights, sums kept in registers.
#pragma once

#include <algorithm>
#include <utility>

#include "formats.h"

namespace weir {

#ifdef __AVX512F__
constexpr int ROWS_MAX = 12;
#else
constexpr int ROWS_MAX = 6;  // 12 sums, 2 weights and an activation in 16 registers
#endif

// How many panels side by side keep enough sums in flight to hide the latency of an addition.
constexpr int panels_for(int rows) {
  return rows * VECS >= 8 ? 1 : rows * VECS >= 4 ? 2 : 4;
}

// sums[r][p·16 + c] (+)= Σ_k a[r][k] · w[p][k][c] for k in [from, to). Every sum is one chain of
// additions in the order of k, whatever the tile: a row's result does not depend on its neighbours.
template <class Format, int ROWS, int PANELS>
inline void tile(const float* a, std::ptrdiff_t lda, const char* panels, std::size_t panel_bytes,
                 int from, int to, bool accumulate, float* sums, std::ptrdiff_t ld_sums) {
  constexpr int AHEAD = ROWS > 1 ? 4096 : 0;
  Vec sum[ROWS][PANELS][VECS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < PANELS; ++p)
#pragma GCC unroll 2
      for (int v = 0; v < VECS; ++v)
        sum[r][p][v] =
            accumulate ? load(sums + r * ld_sums + p * PANEL + v * LANES) : zero();
  if constexpr (PANELS == 1) {
    Format::template each<AHEAD>(panels, from, to, [&](int k, const Columns& w) __attribute__((always_inline)) {
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; ++r) {
        const Vec x = spread(a[r * lda + k]);
#pragma GCC unroll 2
        for (int v = 0; v < VECS; ++v) sum[r][0][v] = fma(x, w.part[v], sum[r][0][v]);
      }
    });
  } else {
    constexpr int STEP = Format::STEP;
    for (int k0 = from; k0 < to; k0 += STEP) {
#pragma GCC unroll 4
      for (int p = 0; p < PANELS; ++p)
        Format::template each<AHEAD>(panels + p * panel_bytes, k0, std::min(to, k0 + STEP),
                     [&](int k, const Columns& w) __attribute__((always_inline)) {
#pragma GCC unroll 16
                       for (int r = 0; r < ROWS; ++r) {
                         const Vec x = spread(a[r * lda + k]);
#pragma GCC unroll 2
                         for (int v = 0; v < VECS; ++v)
                           sum[r][p][v] = fma(x, w.part[v], sum[r][p][v]);
                       }
                     });
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < PANELS; ++p)
#pragma GCC unroll 2
      for (int v = 0; v < VECS; ++v)
        store(sums + r * ld_sums + p * PANEL + v * LANES, sum[r][p][v]);
}

namespace detail {

template <class Format, int ROWS>
void row_tile(const float* a, std::ptrdiff_t lda, const char* panels, std::size_t panel_bytes,
              int n_panels, int from, int to, bool accumulate, float* sums,
              std::ptrdiff_t ld_sums) {
  constexpr int SIDE_BY_SIDE = panels_for(ROWS);
  int p = 0;
  for (; p + SIDE_BY_SIDE <= n_panels; p += SIDE_BY_SIDE)
    tile<Format, ROWS, SIDE_BY_SIDE>(a, lda, panels + p * panel_bytes, panel_bytes, from, to,
                                     accumulate, sums + p * PANEL, ld_sums);
  for (; p < n_panels; ++p)
    tile<Format, ROWS, 1>(a, lda, panels + p * panel_bytes, panel_bytes, from, to, accumulate,
                          sums + p * PANEL, ld_sums);
}

template <class Format, int... ROWS>
void pick(int rows, std::integer_sequence<int, ROWS...>, const float* a, std::ptrdiff_t lda,
          const char* panels, std::size_t panel_bytes, int n_panels, int from, int to,
          bool accumulate, float* sums, std::ptrdiff_t ld_sums) {
  (void)((rows == ROWS + 1 && (row_tile<Format, ROWS + 1>(a, lda, panels, panel_bytes, n_panels,
                                                          from, to, accumulate, sums, ld_sums),
                               true)) ||
         ...);
}

}  // namespace detail

// Any number of rows and panels, rows in tiles of nearly equal height.
template <class Format>
void tiles(const float* a, std::ptrdiff_t lda, int rows, const char* panels,
           std::size_t panel_bytes, int n_panels, int from, int to, bool accumulate, float* sums,
           std::ptrdiff_t ld_sums) {
  const int n_tiles = (rows + ROWS_MAX - 1) / ROWS_MAX;
  for (int t = 0; t < n_tiles; ++t) {
    const int first = rows * t / n_tiles, last = rows * (t + 1) / n_tiles;
    detail::pick<Format>(last - first, std::make_integer_sequence<int, ROWS_MAX>{},
                         a + first * lda, lda, panels, panel_bytes, n_panels, from, to, accumulate,
                         sums + first * ld_sums, ld_sums);
  }
}

}  // namespace weir
