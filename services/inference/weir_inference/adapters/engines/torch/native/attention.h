// Attention of ragged rows over a paged cache, whose pages are weight panels of sixteen tokens.
//
// In a block, the keys of a head are one panel (16 tokens as columns, head_dim inputs) and its
// values head_dim / 16 panels (16 dimensions as columns, 16 tokens as inputs). So scores and their
// mix are the same tiles as in a linear layer, and nothing is padded to the longest sequence.
#pragma once

#include <vector>

#include "linear.h"

namespace weir {

// `rows` tokens of one sequence, from position `start`, that are rows `row`… of the step. Its
// blocks are tables[table]…, the first of which holds position `first_key`.
struct Span {
  std::int32_t row, rows, start, table, first_key;
};

struct Attention {
  std::int32_t format;  // of the cache: F32 or BF16
  std::int32_t n_heads, n_kv_heads, head_dim;
  std::int32_t window;  // tokens that a token sees, itself among them; 0: all
  float scale;

  std::size_t number() const { return format == FORMAT_F32 ? sizeof(float) : sizeof(bf16); }
  int value_panels() const { return (head_dim + PANEL - 1) / PANEL; }
  std::size_t key_bytes() const { return number() * PANEL * head_dim; }
  std::size_t head_bytes() const { return key_bytes() + number() * PANEL * PANEL * value_panels(); }
  std::size_t block_bytes() const { return head_bytes() * n_kv_heads; }

  // Stores one token's keys and values [kv_heads][head_dim] at a slot (block · 16 + offset).
  void put(char* cache, std::int64_t slot, const float* keys, const float* values) const {
    const int offset = static_cast<int>(slot % PANEL);
    char* head = cache + slot / PANEL * block_bytes();
    for (int h = 0; h < n_kv_heads; ++h, head += head_bytes()) {
      if (format == FORMAT_F32)
        put_f32(head, offset, keys + h * head_dim, values + h * head_dim);
      else
        put_bf16(head, offset, keys + h * head_dim, values + h * head_dim);
    }
  }

 private:
  void put_f32(char* head, int offset, const float* keys, const float* values) const {
    float* key_panel = reinterpret_cast<float*>(head);
    float* value_panels = reinterpret_cast<float*>(head + key_bytes());
    for (int i = 0; i < head_dim; ++i) {
      key_panel[i * PANEL + offset] = keys[i];
      value_panels[(i / PANEL * PANEL + offset) * PANEL + i % PANEL] = values[i];
    }
  }

  // Two inputs of a key's column are neighbours; of a value's, all columns of one input.
  void put_bf16(char* head, int offset, const float* keys, const float* values) const {
    bf16* key_panel = reinterpret_cast<bf16*>(head) + 2 * offset;
    bf16* value_panels =
        reinterpret_cast<bf16*>(head + key_bytes()) + offset / 2 * 2 * PANEL + offset % 2;
    bf16 few[PANEL];
    for (int from = 0; from < head_dim; from += PANEL) {
      const int n = std::min(PANEL, head_dim - from);
      narrow_all(keys + from, n, few);
      for (int i = 0; i < n; i += 2)
        std::memcpy(key_panel + (from + i) * PANEL, few + i, 2 * sizeof(bf16));
      narrow_all(values + from, n, few);
      for (int i = 0; i < n; ++i) value_panels[from * PANEL + 2 * i] = few[i];
    }
  }
};

// The key panels of some blocks, of a KV head: a block of each.
struct BlockKeys {
  const char* const* blocks;

  const char* operator[](int p) const { return blocks[p]; }
  BlockKeys from(int p) const { return {blocks + p}; }
};

// Their value panels: each goes on from one block to the next.
struct BlockValues {
  const char* const* blocks;
  std::size_t first, bytes;  // where a block has its first panel; of a panel

  BlockValues operator[](int p) const { return from(p); }
  BlockValues from(int p) const { return {blocks, first + p * bytes, bytes}; }
};

// A panel whose inputs lie in blocks of sixteen.
template <class Format>
struct Paged : Format {
  static constexpr int STEP = PANEL;

  struct Reader : Format::Reader {
    const BlockValues values;

    explicit Reader(const BlockValues& v) : Format::Reader(nullptr), values(v) {}
    void open(int k) {
      const typename Format::Reader block(values.blocks[k / PANEL] + values.first);
      this->panel = block.panel - k * PANEL;  // as if all blocks before it had its place
    }
  };
};

template <class Format, class Output>
class AttentionJob {
 public:
  AttentionJob(const Attention& shape, const float* qkv, const Span* spans, int n_spans,
               const std::int32_t* tables, const char* cache, Output* out)
      : shape_(shape), qkv_(qkv), spans_(spans), tables_(tables), cache_(cache), out_(out) {
    group_ = shape.n_heads / shape.n_kv_heads;
    tokens_ = std::max(1, ROWS / group_);
    for (int s = 0; s < n_spans; ++s)
      for (int t = 0; t < spans[s].rows; t += tokens_)
        for (int h = 0; h < shape.n_kv_heads; ++h) units_.push_back({s, t, h});
  }

  int n_units() const { return static_cast<int>(units_.size()); }

  void operator()(int unit) const {
    const auto [s, first, kv_head] = units_[unit];
    attend(spans_[s], first, std::min(tokens_, spans_[s].rows - first), kv_head);
  }

 private:
  static constexpr int ROWS = 24;         // query rows that share a pass over the keys
  static constexpr int CHUNK_BLOCKS = 8;  // blocks whose scores are computed before their softmax
  static constexpr int CHUNK = CHUNK_BLOCKS * PANEL;

  using Input = typename Format::Input;

  // What a thread needs for one unit; it keeps the memory for the next.
  struct Room {
    std::vector<float> mixed, scores, most, total, query;
    std::vector<Input> q, shares;

    void fit(int rows, int head_dim, int wide) {
      mixed.assign(static_cast<std::size_t>(rows) * wide, 0.0f);
      scores.resize(static_cast<std::size_t>(rows) * CHUNK);
      shares.resize(static_cast<std::size_t>(rows) * CHUNK);
      q.resize(static_cast<std::size_t>(rows) * head_dim);
      query.resize(head_dim);
      most.assign(rows, -INFINITY);
      total.assign(rows, 0.0f);
    }
  };

  struct Unit {
    int span, token, kv_head;
  };

  // Online softmax over chunks of keys (Milakov & Gimelshein 2018; Dao et al. 2022). Chunks begin at
  // multiples of CHUNK in the sequence, so a token's result does not depend on how the step is cut.
  void attend(const Span& span, int first, int n_tokens, int kv_head) const {
    const int d = shape_.head_dim, rows = n_tokens * group_;
    const int n_panels = shape_.value_panels(), wide = n_panels * PANEL;
    static thread_local Room room;
    room.fit(rows, d, wide);
    gather(span, first, n_tokens, kv_head, room);
    const int begin = visible_from(span.start + first), end = span.start + first + n_tokens;
    for (int chunk = begin / CHUNK * CHUNK; chunk < end; chunk += CHUNK) {
      const int from = std::max(chunk, begin / PANEL * PANEL), to = std::min(end, chunk + CHUNK);
      const int n_blocks = (to - from + PANEL - 1) / PANEL;
      const char* blocks[CHUNK_BLOCKS];
      for (int b = 0; b < n_blocks; ++b) blocks[b] = keys(span, from + b * PANEL, kv_head);
      tiles<Format, Place::CACHE>(room.q.data(), d, rows, BlockKeys{blocks}, n_blocks, 0, d, false,
                                  room.scores.data(), CHUNK);
      for (int r = 0; r < rows; ++r) {
        float* scores = room.scores.data() + r * CHUNK;
        soften(span.start + first + r / group_, from, n_blocks * PANEL, scores,
               room.mixed.data() + r * wide, room.most[r], room.total[r]);
        narrow_all(scores, n_blocks * PANEL, room.shares.data() + r * CHUNK);
      }
      const BlockValues values{blocks, shape_.key_bytes(), Format::bytes(PANEL)};
      tiles<Paged<Format>, Place::CACHE>(room.shares.data(), CHUNK, rows, values, n_panels, 0,
                                         n_blocks * PANEL, true, room.mixed.data(), wide);
    }
    for (int r = 0; r < rows; ++r) {
      const std::int64_t row = span.row + first + r / group_;
      const int head = kv_head * group_ + r % group_;
      float* mixed = room.mixed.data() + r * wide;
      for (int i = 0; i < d; ++i) mixed[i] /= room.total[r];
      narrow_all(mixed, d, out_ + (row * shape_.n_heads + head) * d);
    }
  }

  // The queries of the tokens' heads that share a KV head, scaled: [tokens · group][head_dim].
  void gather(const Span& span, int first, int n_tokens, int kv_head, Room& room) const {
    const int d = shape_.head_dim;
    const std::int64_t width = static_cast<std::int64_t>(shape_.n_heads + 2 * shape_.n_kv_heads) * d;
    Input* to = room.q.data();
    for (int t = 0; t < n_tokens; ++t) {
      const float* from = qkv_ + (span.row + first + t) * width + kv_head * group_ * d;
      for (int head = 0; head < group_; ++head, from += d, to += d) {
        for (int i = 0; i < d; ++i) room.query[i] = from[i] * shape_.scale;
        narrow_all(room.query.data(), d, to);
      }
    }
  }

  // Scores of keys [from, from + n) into shares of the sum, in place; what was mixed is scaled to it.
  void soften(int position, int from, int n, float* scores, float* mixed, float& most,
              float& total) const {
    const int seen_from = visible_from(position) - from, seen_to = position + 1 - from;
    for (int i = 0; i < std::min(n, seen_from); ++i) scores[i] = -INFINITY;
    for (int i = std::max(0, seen_to); i < n; ++i) scores[i] = -INFINITY;
    Vec peak = spread(most);
    for (int i = 0; i < n; i += LANES) peak = max(peak, load(scores + i));
    const float now = largest(peak);
    if (now == -INFINITY) {  // nothing seen yet: a window that begins behind these keys
      std::fill(scores, scores + n, 0.0f);
      return;
    }
    Vec shares = zero();
    for (int i = 0; i < n; i += LANES) {
      const Vec e = exp(sub(load(scores + i), spread(now)));
      store(scores + i, e);
      shares = add(shares, e);
    }
    const float shrink = most == -INFINITY ? 0.0f : std::exp(most - now);
    if (shrink != 1.0f)
      for (int i = 0; i < shape_.head_dim; ++i) mixed[i] *= shrink;
    total = total * shrink + sum(shares);
    most = now;
  }

  int visible_from(int position) const {
    return shape_.window ? std::max(0, position + 1 - shape_.window) : 0;
  }

  const char* keys(const Span& span, int position, int kv_head) const {
    const std::int64_t block = tables_[span.table + (position - span.first_key) / PANEL];
    return cache_ + block * shape_.block_bytes() + kv_head * shape_.head_bytes();
  }

  const Attention& shape_;
  const float* qkv_;
  const Span* spans_;
  const std::int32_t* tables_;
  const char* cache_;
  Output* out_;
  int group_, tokens_;
  std::vector<Unit> units_;
};

}  // namespace weir
