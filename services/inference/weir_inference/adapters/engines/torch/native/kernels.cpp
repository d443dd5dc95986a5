// The operations of the native engine, for ctypes: plain functions over plain memory.
// Compiled once for each of AVX2, AVX-512 and AVX512-BF16 (`hatch_build.py`); `library.py` picks one.

#include <algorithm>

#include "attention.h"
#include "linear.h"

using namespace weir;

namespace {

Team* team = nullptr;

// Rows of an elementwise operation that one thread takes at a time.
constexpr int UNIT_ROWS = 8;

template <class F>
void over_rows(int rows, F f) {
  auto job = [&](int unit) {
    for (int r = unit * UNIT_ROWS; r < std::min(rows, (unit + 1) * UNIT_ROWS); ++r) f(r);
  };
  team->run((rows + UNIT_ROWS - 1) / UNIT_ROWS, job);
}

// x / rms(x) · weight (Zhang & Sennrich 2019).
void normalize(const float* x, const float* weight, float eps, int n, float* out) {
  Vec squares = zero();
  int i = 0;
  for (; i + LANES <= n; i += LANES) squares = fma(load(x + i), load(x + i), squares);
  float total = sum(squares);
  for (; i < n; ++i) total += x[i] * x[i];
  const float scale = 1.0f / std::sqrt(total / static_cast<float>(n) + eps);
  for (i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

// Rotary positions (Su et al. 2021) in the half-split layout, in place.
void rotate(float* x, const float* cosines, const float* sines, int head_dim) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float left = x[i], right = x[i + half];
    x[i] = left * cosines[i] - right * sines[i];
    x[i + half] = right * cosines[i] + left * sines[i];
  }
}

// Activations as a format takes them: [rows][ld].
template <class Input>
const Input* as_inputs(const float* x, std::ptrdiff_t& ld, int rows, int n) {
  if constexpr (std::is_same_v<Input, float>) {
    return x;
  } else {
    static thread_local std::vector<Input> inputs;
    inputs.resize(std::max(inputs.size(), static_cast<std::size_t>(rows) * n));
    Input* const to = inputs.data();
    over_rows(rows, [&](int r) {
      narrow_all(x + r * ld, n, to + static_cast<std::ptrdiff_t>(r) * n);
    });
    ld = n;
    return to;
  }
}

template <class Output>
void norm_rows(const float* x, const float* weight, float eps, int rows, int n, Output* out) {
  over_rows(rows, [&](int r) {
    static thread_local std::vector<float> row;
    row.resize(n);
    normalize(x + static_cast<std::int64_t>(r) * n, weight, eps, n, row.data());
    narrow_all(row.data(), n, out + static_cast<std::int64_t>(r) * n);
  });
}

// See `weir_linear`.
template <class Format, class Output>
void multiply(const Matrix& matrix, const typename Format::Input* x, std::ptrdiff_t ldx, int rows,
              const float* addend, std::ptrdiff_t ld_addend, Output* out, std::ptrdiff_t ld_out) {
  LinearJob<Format, Output> job{matrix,    x,   ldx,    rows,        addend,
                                ld_addend, out, ld_out, team->size()};
  team->run(job.n_units(), job);
}

// See `weir_attend`.
template <class Output>
void attend(const Attention& shape, const float* qkv, const Span* spans, int n_spans,
            const std::int32_t* tables, const char* cache, Output* out) {
  with_format(shape.format, [&](auto f) {
    AttentionJob<decltype(f), Output> job(shape, qkv, spans, n_spans, tables, cache, out);
    team->run(job.n_units(), job);
  });
}

}  // namespace

extern "C" {

// Threads that compute, the caller's among them; the first call decides. Returns how many.
int weir_threads(int n_threads) {
  static Team* const made = new Team(std::max(1, n_threads));
  team = made;
  return team->size();
}

// Pins the threads that compute, the caller's among them, to a CPU each; 0 if that cannot be.
int weir_pin_threads() { return team->pin(); }

// Bytes of a matrix's panels.
std::int64_t weir_panels_bytes(int format, int n_out, int n_in) {
  std::int64_t bytes = 0;
  with_format(format, [&](auto f) {
    bytes = static_cast<std::int64_t>(decltype(f)::bytes(n_in)) * (n_out / PANEL);
  });
  return bytes;
}

// Encodes rows [0, n_rows) of fp32 or bf16 weights into panels: row i becomes column i mod 16 of
// panel first_panel + stride · (i / 16). Rows missing in the last panel are zero.
void weir_encode(int format, const void* rows, int rows_are_bf16, int n_rows, int n_in,
                 int first_panel, int stride, char* panels, float* scales) {
  with_format(format, [&](auto f) {
    using Format = decltype(f);
    auto job = [&](int unit) {
      std::unique_ptr<float[]> wide(new float[static_cast<std::size_t>(PANEL) * n_in]);
      const float* sixteen[PANEL];
      for (int c = 0; c < PANEL; ++c) {
        const std::int64_t row = static_cast<std::int64_t>(unit) * PANEL + c;
        sixteen[c] = row < n_rows ? wide.get() + static_cast<std::size_t>(c) * n_in : nullptr;
        if (row >= n_rows) continue;
        float* to = wide.get() + static_cast<std::size_t>(c) * n_in;
        if (rows_are_bf16)
          for (int i = 0; i < n_in; ++i)
            to[i] = widen(static_cast<const bf16*>(rows)[row * n_in + i]);
        else
          std::memcpy(to, static_cast<const float*>(rows) + row * n_in, sizeof(float) * n_in);
      }
      const std::int64_t panel = first_panel + static_cast<std::int64_t>(stride) * unit;
      Format::encode(sixteen, n_in, panels + panel * Format::bytes(n_in),
                     scales ? scales + panel * PANEL : nullptr);
    };
    team->run((n_rows + PANEL - 1) / PANEL, job);
  });
}

// Rows `ids` of a matrix as fp32: out [n][n_in]. An embedding, or the way back from panels.
void weir_rows(const Matrix* matrix, const std::int64_t* ids, int n, float* out) {
  with_format(matrix->format, [&](auto f) {
    using Format = decltype(f);
    over_rows(n, [&](int r) {
      const std::int64_t id = ids[r];
      const int column = static_cast<int>(id % PANEL);
      const float scale = matrix->scales ? matrix->scales[id] : 1.0f;
      const char* panel = matrix->panels + id / PANEL * Format::bytes(matrix->n_in);
      float* to = out + static_cast<std::int64_t>(r) * matrix->n_in;
      for (int k = 0; k < matrix->n_in; ++k) to[k] = Format::weight(panel, k, column) * scale;
    });
  });
}

// out = x·Wᵀ + bias + addend, or of a gated matrix silu(gate) · up. Row strides are in floats.
void weir_linear(const Matrix* matrix, const float* x, std::int64_t ldx, int rows,
                 const float* addend, std::int64_t ld_addend, float* out, std::int64_t ld_out) {
  with_format(matrix->format, [&](auto f) {
    using Format = decltype(f);
    std::ptrdiff_t ld = ldx;
    const auto* inputs = as_inputs<typename Format::Input>(x, ld, rows, matrix->n_in);
    multiply<Format>(*matrix, inputs, ld, rows, addend, ld_addend, out, ld_out);
  });
}

// out [rows][n] = x [rows][n] / rms(x) · weight [n].
void weir_rms_norm(const float* x, const float* weight, float eps, int rows, int n, float* out) {
  norm_rows(x, weight, eps, rows, n, out);
}

// Splits qkv rows [q heads | k heads | v heads] into rotated queries (in place) and the cache.
// positions, slots: [rows]; cosines, sines: [positions][head_dim / 2]; norms: [head_dim] or null.
void weir_store_kv(const Attention* shape, float* qkv, int rows, const std::int64_t* positions,
                   const std::int64_t* slots, const float* cosines, const float* sines,
                   const float* q_norm, const float* k_norm, float eps, char* cache) {
  const int d = shape->head_dim;
  const std::int64_t width = static_cast<std::int64_t>(shape->n_heads + 2 * shape->n_kv_heads) * d;
  over_rows(rows, [&](int r) {
    float* row = qkv + r * width;
    const float* cos_row = cosines + positions[r] * (d / 2);
    const float* sin_row = sines + positions[r] * (d / 2);
    for (int h = 0; h < shape->n_heads + shape->n_kv_heads; ++h) {
      const float* norm = h < shape->n_heads ? q_norm : k_norm;
      if (norm) normalize(row + h * d, norm, eps, d, row + h * d);
      rotate(row + h * d, cos_row, sin_row, d);
    }
    const float* keys = row + shape->n_heads * d;
    shape->put(cache, slots[r], keys, keys + shape->n_kv_heads * d);
  });
}

// out [rows][n_heads · head_dim] = attention of each span's rows over its blocks.
void weir_attend(const Attention* shape, const float* qkv, const Span* spans, int n_spans,
                 const std::int32_t* tables, const char* cache, float* out) {
  attend(*shape, qkv, spans, n_spans, tables, cache, out);
}

// A decoder's weights, and what it is computed with. Norms are fp32: [hidden], or [head_dim] or null.
struct Layer {
  const float *attention_norm, *q_norm, *k_norm, *mlp_norm;
  const Matrix *qkv, *o, *gate_up, *down;
  char* cache;
};

struct Decoder {
  const Layer* layers;
  std::int32_t n_layers, hidden;
  const Matrix* embedding;
  const Attention* attention;
  const float *norm, *cosines, *sines;
  float eps;
};

// The rows of a step, as in `weir_store_kv` and `weir_attend`, and room for what layers hand on, as
// wide as fp32 of it. `x` [rows][hidden] goes through them all, `normed` is last what comes out.
struct Step {
  const std::int64_t *ids, *positions, *slots;
  const Span* spans;
  const std::int32_t* tables;
  std::int32_t rows, n_spans;
  float *x, *normed, *qkv, *mixed, *gated;
};

}  // extern "C"

namespace {

// Layers of one format hand on what its products take, rounded once where it is made.
template <class Format>
void decode_layers(const Decoder& decoder, const Step& step) {
  using Input = typename Format::Input;
  const Attention& shape = *decoder.attention;
  const int rows = step.rows, hidden = decoder.hidden;
  const int width = shape.n_heads * shape.head_dim;
  float* const x = step.x;
  Input* const normed = reinterpret_cast<Input*>(step.normed);
  Input* const mixed = reinterpret_cast<Input*>(step.mixed);
  Input* const gated = reinterpret_cast<Input*>(step.gated);
  for (int i = 0; i < decoder.n_layers; ++i) {
    const Layer& layer = decoder.layers[i];
    norm_rows(x, layer.attention_norm, decoder.eps, rows, hidden, normed);
    multiply<Format>(*layer.qkv, normed, hidden, rows, nullptr, 0, step.qkv, layer.qkv->n_out);
    weir_store_kv(&shape, step.qkv, rows, step.positions, step.slots, decoder.cosines,
                  decoder.sines, layer.q_norm, layer.k_norm, decoder.eps, layer.cache);
    attend(shape, step.qkv, step.spans, step.n_spans, step.tables, layer.cache, mixed);
    multiply<Format>(*layer.o, mixed, width, rows, x, hidden, x, hidden);
    norm_rows(x, layer.mlp_norm, decoder.eps, rows, hidden, normed);
    const int inner = layer.gate_up->n_out / 2;
    multiply<Format>(*layer.gate_up, normed, hidden, rows, nullptr, 0, gated, inner);
    multiply<Format>(*layer.down, gated, inner, rows, x, hidden, x, hidden);
  }
}

}  // namespace

extern "C" {

// A step from its ids to after the last norm. In one call, so that the caller's other threads have
// the interpreter meanwhile: between two calls the caller would have to wait for it.
void weir_decode(const Decoder* decoder, const Step* step) {
  weir_rows(decoder->embedding, step->ids, step->rows, step->x);
  with_format(decoder->layers[0].qkv->format,
              [&](auto f) { decode_layers<decltype(f)>(*decoder, *step); });
  norm_rows(step->x, decoder->norm, decoder->eps, step->rows, decoder->hidden, step->normed);
}

// The first of the largest of each row of x [rows][n], which are ld apart.
void weir_argmax(const float* x, std::int64_t ld, int rows, int n, std::int64_t* out) {
  constexpr int PART = 8192;
  const int parts = (n + PART - 1) / PART;
  std::vector<std::int64_t> best(static_cast<std::size_t>(rows) * parts);
  auto job = [&](int unit) {
    const float* row = x + unit / parts * ld;
    const int from = unit % parts * PART, to = std::min(n, from + PART);
    int i = from;
    Vec most = spread(-INFINITY);
    for (; i + LANES <= to; i += LANES) most = max(most, load(row + i));
    float peak = largest(most);
    for (; i < to; ++i) peak = std::max(peak, row[i]);
    const float* found = std::find(row + from, row + to, peak);
    best[unit] = found == row + to ? from : found - row;  // a NaN equals nothing
  };
  team->run(rows * parts, job);
  for (int r = 0; r < rows; ++r) {
    const float* row = x + r * ld;
    out[r] = best[r * parts];
    for (int p = 1; p < parts; ++p)
      if (row[best[r * parts + p]] > row[out[r]]) out[r] = best[r * parts + p];
  }
}
}
