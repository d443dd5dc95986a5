// y = W·x (+ bias) (+ what is there already), for any number of rows.
#pragma once

#include <memory>
#include <type_traits>

#include "team.h"
#include "tile.h"

namespace weir {

enum FormatId : std::int32_t { FORMAT_F32 = 0, FORMAT_BF16 = 1, FORMAT_INT8 = 2, FORMAT_INT4 = 3 };

// A matrix of n_out × n_in weights in panels; Python holds the memory (`matrix.py`). A gated
// one has the gate's panels at even places and those that it gates at odd ones.
struct Matrix {
  std::int32_t format, gated;
  std::int32_t n_out, n_in;  // n_out: a multiple of 16, columns beyond the real ones are zero
  const char* panels;
  const float* scales;  // [n_out], Int8 only
  const float* bias;    // [n_out] or null
};

constexpr int UNIT_PANELS = 8;     // panels that one thread takes at a time, half of a small matrix's
constexpr int SMALL_PANELS = 128;
constexpr int BLOCK_ROWS = 264;    // rows computed while a block of weights is in the cache
constexpr int BLOCK_INPUTS = 320;  // inputs of a block, at most: of a panel 10 KB of bf16
constexpr int BLOCK_MULTIPLE = 32;  // of inputs: a whole group of int4

// `Output` is float, or of a gated matrix what the next one takes.
template <class Format, class Output>
struct LinearJob {
  using Input = typename Format::Input;

  const Matrix& matrix;
  const Input* x;
  std::ptrdiff_t ldx;
  int rows;
  const float* addend;  // [rows][ld_addend], of n_out columns, or null
  std::ptrdiff_t ld_addend;
  Output* out;
  std::ptrdiff_t ld_out;
  int n_threads;

  int n_units() const { return (matrix.n_out / PANEL + of_a_unit() - 1) / of_a_unit(); }

  void operator()(int unit) const {
    alignas(64) static thread_local float sums[BLOCK_ROWS * UNIT_PANELS * PANEL];
    const int first = unit * of_a_unit();
    const int n_panels = std::min(of_a_unit(), matrix.n_out / PANEL - first);
    const int n_blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    for (int block = 0; block < n_blocks; ++block) {
      const int row = rows * block / n_blocks, n_rows = rows * (block + 1) / n_blocks - row;
      multiply(first, n_panels, row, n_rows, sums);
      finish(first * PANEL, n_panels * PANEL, row, n_rows, sums);
    }
  }

 private:
  // What weights are decoded to, once for many rows; int4 whose sums are scaled is read as it is.
  using Plain = std::conditional_t<std::is_same_v<Input, float>, F32, BF16>;
  using Dense = std::conditional_t<Format::SCALES_STEPS, Format, Plain>;
  static constexpr std::ptrdiff_t LD = UNIT_PANELS * PANEL;
  static constexpr int SIDE_BY_SIDE = panels_for(ROWS_MAX);
  static_assert(SIDE_BY_SIDE <= 2, "Next asks for the lines of two panels at most");

  int of_a_unit() const {
    return matrix.n_out < SMALL_PANELS * PANEL ? UNIT_PANELS / 2 : UNIT_PANELS;
  }

  // Inputs of a block: all blocks but the last of the same size, and that not much smaller.
  int of_a_block() const {
    const int n_blocks = (matrix.n_in + BLOCK_INPUTS - 1) / BLOCK_INPUTS;
    const int even = (matrix.n_in + n_blocks - 1) / n_blocks;
    return (even + BLOCK_MULTIPLE - 1) / BLOCK_MULTIPLE * BLOCK_MULTIPLE;
  }

  void multiply(int first, int n_panels, int row, int n_rows, float* sums) const {
    const std::size_t bytes = Format::bytes(matrix.n_in);
    const Panels panels = Panels{matrix.panels, bytes, after_unit(first)}.from(first);
    const Input* a = x + row * ldx;
    if (n_rows <= ROWS_MAX) {
      tiles<Format, Place::MEMORY>(a, ldx, n_rows, panels, n_panels, 0, matrix.n_in, false, sums,
                                   LD);
      return;
    }
    const int n_inputs = of_a_block();
    for (int from = 0; from < matrix.n_in; from += n_inputs) {
      const int to = std::min(matrix.n_in, from + n_inputs);
      for (int p = 0; p < n_panels; p += SIDE_BY_SIDE) {
        const int n = std::min(SIDE_BY_SIDE, n_panels - p);
        float* const to_sums = sums + p * PANEL;
        Next next = next_of(panels, n_panels, p, from);
        if constexpr (std::is_same_v<Format, Dense>) {
          tiles<Format, Place::CACHE>(a, ldx, n_rows, panels.from(p), n, from, to, from > 0,
                                      to_sums, LD, &next);
        } else {
          alignas(64) static thread_local Input dense[SIDE_BY_SIDE][PANEL * BLOCK_INPUTS];
          for (int i = 0; i < n; ++i) decode(panels.from(p + i).first, from, to, dense[i]);
          const Panels decoded{reinterpret_cast<const char*>(dense), sizeof dense[0]};
          tiles<Dense, Place::CACHE>(a + from, ldx, n_rows, decoded, n, 0, to - from, from > 0,
                                     to_sums, LD, &next);
        }
      }
    }
  }

  // Where this thread reads on after its unit, if all threads are equally fast.
  const char* after_unit(int first) const {
    first += n_threads * of_a_unit();
    return first < matrix.n_out / PANEL ? matrix.panels + first * Format::bytes(matrix.n_in) : nullptr;
  }

  // The block of weights after that of panel `p` and input `from`, be it the next unit's first.
  Next next_of(const Panels& panels, int n_panels, int p, int from) const {
    p += SIDE_BY_SIDE;
    if (p >= n_panels) {
      p = 0;
      from += of_a_block();
    }
    const char* first = panels.first;
    if (from >= matrix.n_in) {
      first = panels.then;
      from = 0;
    }
    const int to = first ? std::min(matrix.n_in, from + of_a_block()) : from;
    const std::size_t skipped = Format::bytes(from);
    return {first + p * panels.bytes + skipped, panels.bytes,
            static_cast<int>((Format::bytes(to) - skipped + LINE - 1) / LINE),
            SIDE_BY_SIDE == 2 && n_panels - p > 1};
  }

  // Weights [from, to) of a panel, as a panel of the format `Dense`.
  static void decode(const char* panel, int from, int to, Input* dense) {
    typename Format::Reader reader(panel);
    for (int k = from; k < to; k += 2) {
      if (k % Format::STEP == 0) reader.open(k);
      decode_half<0>(reader, k, dense + (k - from) * PANEL);
      if constexpr (Format::HALVES == 2) decode_half<1>(reader, k, dense + (k - from + 1) * PANEL);
    }
  }

  template <int HALF>
  static void decode_half(const typename Format::Reader& reader, int k, Input* dense) {
    const Columns<Input> w = reader.template at<HALF>(k);
    for (int v = 0; v < VECS; ++v) store(dense + v * LANES, w.part[v]);
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
      Output* to = out + (row + r) * ld_out;
      if (matrix.gated)
        gate(y, n_columns, to + column / 2);
      else
        narrow_all(y, n_columns, to + column);
    }
  }

  // silu(gate) · up of neighbouring panels (Shazeer 2020).
  static void gate(const float* y, int n_columns, Output* to) {
    for (int c = 0; c < n_columns; c += 2 * PANEL, to += PANEL)
      for (int v = 0; v < PANEL; v += LANES) {
        const Vec gates = load(y + c + v), ups = load(y + c + PANEL + v);
        const Vec e = exp(min(sub(zero(), gates), spread(87.0f)));
        store_input(to + v, mul(div(gates, add(spread(1.0f), e)), ups));
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
