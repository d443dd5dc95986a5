// y = W·x (+ bias) (+ what is there already), for any number of rows.
#pragma once

#include <memory>

#include "team.h"
#include "tile.h"

namespace weir {

enum FormatId : std::int32_t { FORMAT_F32 = 0, FORMAT_BF16 = 1, FORMAT_INT8 = 2, FORMAT_INT4 = 3 };

// A matrix of n_out × n_in weights in panels; Python holds the memory (`native_matrix.py`). A gated
// one has the gate's panels at even places and those that it gates at odd ones.
struct Matrix {
  std::int32_t format, gated;
  std::int32_t n_out, n_in;  // n_out: a multiple of 16, columns beyond the real ones are zero
  const char* panels;
  const float* scales;  // [n_out], Int8 only
  const float* bias;    // [n_out] or null
};

constexpr int UNIT_PANELS = 4;      // columns that one thread takes at a time: 64
constexpr int BLOCK_ROWS = 240;     // rows computed while a decoded panel is in the cache
constexpr int BLOCK_INPUTS = 256;   // inputs of a decoded panel: 16 KB of fp32
constexpr int DECODE_ROWS = 12;     // more rows than this decode a panel once for all of them

template <class Format>
struct LinearJob {
  const Matrix& matrix;
  const float* x;
  std::ptrdiff_t ldx;
  int rows;
  const float* addend;  // [rows][ld_addend], of n_out columns, or null
  std::ptrdiff_t ld_addend;
  float* out;
  std::ptrdiff_t ld_out;

  int n_units() const {
    return (matrix.n_out / PANEL + UNIT_PANELS - 1) / UNIT_PANELS;
  }

  void operator()(int unit) const {
    alignas(64) static thread_local float sums[BLOCK_ROWS * UNIT_PANELS * PANEL];
    const int first = unit * UNIT_PANELS;
    const int n_panels = std::min(UNIT_PANELS, matrix.n_out / PANEL - first);
    for (int row = 0; row < rows; row += BLOCK_ROWS) {
      const int n_rows = std::min(BLOCK_ROWS, rows - row);
      multiply(first, n_panels, row, n_rows, sums);
      finish(first * PANEL, n_panels * PANEL, row, n_rows, sums);
    }
  }

 private:
  static constexpr std::ptrdiff_t LD = UNIT_PANELS * PANEL;

  void multiply(int first, int n_panels, int row, int n_rows, float* sums) const {
    const std::size_t panel_bytes = Format::bytes(matrix.n_in);
    const char* panels = matrix.panels + first * panel_bytes;
    const float* a = x + row * ldx;
    if (n_rows <= DECODE_ROWS) {
      tiles<Format>(a, ldx, n_rows, panels, panel_bytes, n_panels, 0, matrix.n_in, false, sums, LD);
      return;
    }
    alignas(64) static thread_local float decoded[BLOCK_INPUTS * PANEL];
    for (int from = 0; from < matrix.n_in; from += BLOCK_INPUTS) {
      const int to = std::min(matrix.n_in, from + BLOCK_INPUTS);
      for (int p = 0; p < n_panels; ++p) {
        Format::each(panels + p * panel_bytes, from, to,
                     [&](int k, const Columns& w) __attribute__((always_inline)) {
                       for (int v = 0; v < VECS; ++v)
                         store(decoded + (k - from) * PANEL + v * LANES, w.part[v]);
                     });
        tiles<F32>(a + from, ldx, n_rows, reinterpret_cast<const char*>(decoded), 0, 1, 0,
                   to - from, from > 0, sums + p * PANEL, LD);
      }
    }
  }

  void finish(int column, int n_columns, int row, int n_rows, float* sums) const {
    for (int r = 0; r < n_rows; ++r) {
      float* y = sums + r * LD;
      if (matrix.scales)
        for (int c = 0; c < n_columns; ++c) y[c] *= matrix.scales[column + c];
      if (matrix.bias)
        for (int c = 0; c < n_columns; ++c) y[c] += matrix.bias[column + c];
      if (addend) {
        const float* more = addend + (row + r) * ld_addend + column;
        for (int c = 0; c < n_columns; ++c) y[c] += more[c];
      }
      float* to = out + (row + r) * ld_out;
      if (matrix.gated)
        gate(y, n_columns, to + column / 2);
      else
        std::memcpy(to + column, y, n_columns * sizeof(float));
    }
  }

  // silu(gate) · up of neighbouring panels (Shazeer 2020).
  static void gate(const float* y, int n_columns, float* to) {
    for (int c = 0; c < n_columns; c += 2 * PANEL, to += PANEL)
      for (int v = 0; v < PANEL; v += LANES) {
        const Vec gates = load(y + c + v), ups = load(y + c + PANEL + v);
        const Vec e = exp(min(sub(zero(), gates), spread(87.0f)));
        store(to + v, mul(div(gates, add(spread(1.0f), e)), ups));
      }
  }
};

// Calls f(Format{}) for a matrix's format.
template <class F>
void with_format(std::int32_t format, F f) {
  switch (format) {
    case FORMAT_F32: return f(F32{});
    case FORMAT_BF16: return f(BF16{});
    case FORMAT_INT8: return f(Int8{});
    case FORMAT_INT4: return f(Int4{});
  }
}

}  // namespace weir
