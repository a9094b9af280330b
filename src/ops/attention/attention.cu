// Attention; see mod.rs. Blocks of queries go over blocks of keys with a running maximum and sum (Milakov and Gimelshein, arXiv
// 1805.02867; Dao et al., arXiv 2205.14135): attention_tiles for many queries, as products of tiles; attention_rows for a few,
// a block for each and for each range of its keys, which attention_merge brings together.
#include "index.cuh"
#include "number.cuh"
#include "vector.cuh"

/// Distances between neighbouring rows of a tensor of [batch, heads, sequence, size] rows, in elements.
struct Strides {
  unsigned batch, head, row;
};

enum Mask { NO_MASK, BOOL_MASK, FLOAT_MASK };
enum Scores { PRODUCTS, CAPPED, MASKED, WEIGHTS };

/// What is computed; `words` of cuda.rs writes it.
struct Problem {
  /// Heads, and how many share keys; queries of each.
  Divisor heads, group, queries;
  unsigned keys, size, value_size;
  /// Element type, and whether all rows begin and end at multiples of four elements.
  unsigned type, quads;
  Strides q, k, v, y;
  /// How the mask broadcasts, and how many keys it covers.
  unsigned mask;
  Strides mask_strides;
  int mask_keys;
  /// Position of the first query, unless that follows from the key lengths; positions that are seen before and after its own.
  int past, left, right;
  float scale, softcap;
};

/// The operands. Key lengths may be absent.
struct Operands {
  const void *q, *k, *v, *mask;
  const long long *lengths;
};

/// Keys from start on before end.
struct Range {
  int start, end;
};

/// The keys that a query may attend to, apart from the mask's values.
__device__ inline Range visible(const Problem &p, unsigned query, const long long *lengths, unsigned image) {
  int end = (int)p.keys, position = (int)query + p.past;
  if (lengths) {
    long long length = lengths[image];
    end = length < 0 ? 0 : length < end ? (int)length : end;
    position = (int)query + end - (int)p.queries.value;
  }
  end = min(min(end, p.mask_keys), position + p.right + 1);
  end = max(end, 0);
  return Range{min(max(position - p.left, 0), end), end};
}

__noinline__ __device__ float cap(float score, float most) { return tanhf(score / most) * most; }

__device__ inline float capped(const Problem &p, float product) {
  float score = product * p.scale;
  return p.softcap != 0.0f ? cap(score, p.softcap) : score;
}

/// A score after element `at` of the mask.
__device__ inline float masked(const Problem &p, float score, const void *mask, unsigned at) {
  if (p.mask == NO_MASK)
    return score;
  if (p.mask == BOOL_MASK)
    return ((const unsigned char *)mask)[at] ? score : -INFINITY;
  float added = load_single(mask, at, p.type);
  return added == -INFINITY ? added : score + added;
}

/// e^(score - top); a key that is removed has no weight even if all are.
__device__ inline float weight_of(float score, float top) { return score == -INFINITY ? 0.0f : expf(score - top); }

/// What earlier weights become when the largest score does.
__device__ inline float share_of(float before, float top) { return before == top ? 1.0f : expf(before - top); }

/// The larger one, or the one that is a number.
struct Larger {
  static __device__ inline float of(float a, float b) { return fmaxf(a, b); }
};

/// Up to four elements from `first` on, then zeros.
__noinline__ __device__ float4 ragged_at(const void *x, unsigned first, unsigned count, unsigned type) {
  float4 out = {0.0f, 0.0f, 0.0f, 0.0f};
  float *to = &out.x;
#pragma unroll
  for (unsigned i = 0; i < 4; ++i)
    if (i < count)
      to[i] = load_single(x, first + i, type);
  return out;
}

/// Four elements of a row from element `at` on, zeros beyond its end.
__device__ inline float4 quad_at(const void *x, unsigned row, unsigned at, unsigned size, const Problem &p) {
  if (at >= size)
    return float4{0.0f, 0.0f, 0.0f, 0.0f};
  unsigned first = row + at, type = p.type;
  if (!p.quads)
    return ragged_at(x, first, size - at, type);
  float quad[4];
  if (type == F32)
    load_vector((const float *)x + first, quad);
  else if (type == F16)
    load_vector((const f16 *)x + first, quad);
  else
    load_vector((const bf16 *)x + first, quad);
  return float4{quad[0], quad[1], quad[2], quad[3]};
}

/// As quad_at, where a call costs little beside waiting for memory.
__noinline__ __device__ float4 quad_by_call(const void *x, unsigned row, unsigned at, unsigned size, const Problem &p) {
  return quad_at(x, row, at, size, p);
}

/// Past and new keys, or values, brought together; blockIdx.y is 1 for values. One thread moves one word.
struct Join {
  /// Words of a row of keys and of one of values; all keys of a head; heads.
  Divisor len[2], keys, heads;
  unsigned words[2], past;
  Strides rows[2];
};

template <class W>
__device__ void join(const W *past_key, const W *past_value, const W *new_key, const W *new_value, W *key, W *value,
                     const Join &j) {
  unsigned which = blockIdx.y, index = thread_index(), head = index;
  if (index >= j.words[which])
    return;
  const W *past = which ? past_value : past_key, *recent = which ? new_value : new_key;
  unsigned within = split(head, j.len[which]), row = split(head, j.keys);
  W word;
  if (row < j.past) {
    word = past[(head * j.past + row) * j.len[which].value + within];
  } else {
    unsigned image = head, own = split(image, j.heads);
    const Strides &s = j.rows[which];
    word = recent[image * s.batch + own * s.head + (row - j.past) * s.row + within];
  }
  (which ? value : key)[index] = word;
}

#define JOIN_KERNEL(W, suffix)                                                                                                 \
  KERNEL attention_join_##suffix(const W *past_key, const W *past_value, const W *new_key, const W *new_value, W *key,         \
                                 W *value, UNIFORM Join how) {                                                                 \
    join(past_key, past_value, new_key, new_value, key, value, how);                                                           \
  }
JOIN_KERNEL(unsigned short, b16)
JOIN_KERNEL(unsigned, b32)
JOIN_KERNEL(unsigned long long, b64)
JOIN_KERNEL(b128, b128)

// What tiles are loaded and stored with is called, not inlined: a call for a whole tile costs little, and PTX is long.

/// Queries and keys of a tile, elements of them that are multiplied at a time, and columns of values.
#define TILE 64
#define DEPTH 32
/// Rows of tiles in memory have a few floats more, so that columns lie in several banks.
#define ROW (TILE + 4)

/// A product of tiles: each thread has four rows and four columns. `a` has the rows of A side by side and `b` the columns of B,
/// `depth` times.
__device__ inline void multiply(const float (*a)[ROW], const float (*b)[ROW], unsigned depth, float (*sums)[4]) {
  unsigned row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll 4
  for (unsigned i = 0; i < depth; ++i) {
    float4 x = *(const float4 *)&a[i][row], y = *(const float4 *)&b[i][column];
    float left[4] = {x.x, x.y, x.z, x.w}, right[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (unsigned r = 0; r < 4; ++r)
#pragma unroll
      for (unsigned c = 0; c < 4; ++c)
        sums[r][c] = fmaf(left[r], right[c], sums[r][c]);
  }
}

/// Where a block works: which queries of the heads that share keys, and which columns of the values.
struct Block {
  unsigned image, kv_head, first, column;
};

/// Head and query of a row of a block; false if there is none.
__device__ inline bool locate(const Problem &p, const Block &block, unsigned row, unsigned &head, unsigned &query) {
  unsigned last = p.group.value * p.queries.value - 1, at = block.first + row;
  head = min(at, last);
  query = split(head, p.queries);
  head += block.kv_head * p.group.value;
  return at <= last;
}

/// Keys that some query of a block sees.
__device__ inline Range seen_by_any(const Problem &p, const Block &block, const long long *lengths) {
  unsigned head, first, last_head, last;
  locate(p, block, 0, head, first);
  locate(p, block, TILE - 1, last_head, last);
  if (head != last_head) {
    first = 0;
    last = p.queries.value - 1;
  }
  return Range{visible(p, first, lengths, block.image).start, visible(p, last, lengths, block.image).end};
}

/// The query, or past it the place in the mask, of each row of a block; what becomes of its earlier sums, and then of all.
struct Rows {
  unsigned query[TILE];
  float share[TILE];
};

/// Loads queries and keys from element `from` on, turned, queries first; those that do not exist become zeros.
__noinline__ __device__ void load_turned(float (*to)[ROW], const Rows &rows, const Operands &operands, unsigned keys, int count,
                                         unsigned from, const Problem &p) {
  unsigned at = threadIdx.x % (DEPTH / 4) * 4;
#pragma unroll 1
  for (unsigned i = threadIdx.x / (DEPTH / 4); i < 2 * TILE; i += THREADS / (DEPTH / 4)) {
    bool is_key = i >= TILE;
    unsigned column = i % TILE, row = is_key ? keys + column * p.k.row : rows.query[column];
    float4 quad = {0.0f, 0.0f, 0.0f, 0.0f};
    if (!is_key || (int)column < count)
      quad = quad_at(is_key ? operands.k : operands.q, row, from + at, p.size, p);
    float (*turned)[ROW] = to + (is_key ? DEPTH : 0) + at;
    turned[0][column] = quad.x;
    turned[1][column] = quad.y;
    turned[2][column] = quad.z;
    turned[3][column] = quad.w;
  }
}

/// Loads columns of values from `from` on; values that do not exist become zeros.
__noinline__ __device__ void load_values(float (*to)[ROW], const void *values, unsigned first, int count, unsigned from,
                                         const Problem &p) {
  unsigned at = threadIdx.x % (TILE / 4) * 4;
#pragma unroll 1
  for (unsigned i = threadIdx.x / (TILE / 4); i < TILE; i += THREADS / (TILE / 4)) {
    float4 quad = {0.0f, 0.0f, 0.0f, 0.0f};
    if ((int)i < count)
      quad = quad_at(values, first + i * p.v.row, from + at, p.value_size, p);
    *(float4 *)&to[i][at] = quad;
  }
}

/// The row whose scores a thread turns into weights, together with three neighbours.
struct Row {
  unsigned mask_at;
  Range seen;
  float top, total;
};

/// Turns the scores of a tile, columns of which are queries, into weights, and tells what earlier ones become.
__noinline__ __device__ void weigh(float (*scores)[ROW], Rows &rows, Row &row, int key, const Operands &operands,
                                   const Problem &p) {
  unsigned column = threadIdx.x / 4;
  float largest = row.top;
#pragma unroll 1
  for (unsigned i = threadIdx.x % 4; i < TILE; i += 4) {
    int here = key + (int)i;
    float score = -INFINITY;
    if (here >= row.seen.start && here < row.seen.end)
      score = masked(p, capped(p, scores[i][column]), operands.mask, row.mask_at + (unsigned)here);
    scores[i][column] = score;
    largest = fmaxf(largest, score);
  }
  largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
  largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
  float share = share_of(row.top, largest);
  row.top = largest;
  row.total *= share;
#pragma unroll 1
  for (unsigned i = threadIdx.x % 4; i < TILE; i += 4) {
    float weight = weight_of(scores[i][column], largest);
    scores[i][column] = weight;
    row.total += weight;
  }
  if (threadIdx.x % 4 == 0)
    rows.share[column] = share;
}

/// Writes a tile of the output from column `column` on: sums divided by those of weights. A query that sees nothing gives
/// zeros.
__noinline__ __device__ void store(void *y, const Block &block, const float (*sums)[ROW], const float *totals, unsigned column,
                                   const Problem &p) {
#pragma unroll 1
  for (unsigned i = threadIdx.x; i < TILE * TILE; i += THREADS) {
    unsigned row = i / TILE, at = column + i % TILE, head, query;
    float total = totals[row];
    if (locate(p, block, row, head, query) && at < p.value_size) {
      unsigned to = block.image * p.y.batch + head * p.y.head + query * p.y.row + at;
      store_single(y, to, p.type, total == 0.0f ? 0.0f : sums[row][i % TILE] / total);
    }
  }
}

/// Blocks of the queries that share keys, and of the columns of values.
struct Blocks {
  Divisor columns, rows, kv_heads;
};

template <int COLUMNS> __device__ void tiles(const Operands &operands, void *y, const Problem &p, const Blocks &blocks) {
  __shared__ __attribute__((aligned(16))) float stage[TILE][ROW], scores[TILE][ROW];
  __shared__ Rows rows;
  Block block;
  block.image = blockIdx.x;
  block.column = split(block.image, blocks.columns) * COLUMNS * TILE;
  block.first = split(block.image, blocks.rows) * TILE;
  block.kv_head = split(block.image, blocks.kv_heads);
  unsigned head, query, own = threadIdx.x / 16 * 4, across = threadIdx.x % 16 * 4;
  locate(p, block, threadIdx.x / 4, head, query);
  rows.query[threadIdx.x / 4] = block.image * p.q.batch + head * p.q.head + query * p.q.row;
  const Strides &m = p.mask_strides;
  Row row = {block.image * m.batch + head * m.head + query * m.row, visible(p, query, operands.lengths, block.image), -INFINITY,
             0.0f};
  unsigned first_key = block.image * p.k.batch + block.kv_head * p.k.head;
  unsigned first_value = block.image * p.v.batch + block.kv_head * p.v.head;
  float sums[COLUMNS][4][4] = {};
  Range keys = seen_by_any(p, block, operands.lengths);
#pragma unroll 1
  for (int key = keys.start; key < keys.end; key += TILE) {
    float products[4][4] = {};
#pragma unroll 1
    for (unsigned from = 0; from < p.size; from += DEPTH) {
      __syncthreads(); // What was there is read.
      load_turned(stage, rows, operands, first_key + (unsigned)key * p.k.row, keys.end - key, from, p);
      __syncthreads();
      multiply(stage, stage + DEPTH, DEPTH, products);
    }
#pragma unroll
    for (unsigned c = 0; c < 4; ++c)
      *(float4 *)&scores[across + c][own] = float4{products[0][c], products[1][c], products[2][c], products[3][c]};
    __syncthreads();
    weigh(scores, rows, row, key, operands, p);
#pragma unroll
    for (unsigned n = 0; n < COLUMNS; ++n) {
      __syncthreads(); // Weights are written; what was staged is read.
      load_values(stage, operands.v, first_value + (unsigned)key * p.v.row, keys.end - key, block.column + n * TILE, p);
      __syncthreads();
#pragma unroll
      for (unsigned r = 0; r < 4; ++r)
#pragma unroll
        for (unsigned c = 0; c < 4; ++c)
          sums[n][r][c] *= rows.share[own + r];
      multiply(scores, stage, TILE, sums[n]);
    }
  }
  row.total += __shfl_xor_sync(0xffffffffu, row.total, 1);
  row.total += __shfl_xor_sync(0xffffffffu, row.total, 2);
  __syncthreads();
  rows.share[threadIdx.x / 4] = row.total;
#pragma unroll
  for (unsigned n = 0; n < COLUMNS; ++n) {
#pragma unroll
    for (unsigned r = 0; r < 4; ++r)
      *(float4 *)&stage[own + r][across] = float4{sums[n][r][0], sums[n][r][1], sums[n][r][2], sums[n][r][3]};
    __syncthreads();
    store(y, block, stage, rows.share, block.column + n * TILE, p);
    __syncthreads();
  }
}

#define TILES_KERNEL(COLUMNS)                                                                                                  \
  KERNEL attention_tiles##COLUMNS(const void *q, const void *k, const void *v, const void *mask, const long long *lengths,     \
                                  void *y, UNIFORM Problem problem, Blocks blocks) {                                           \
    tiles<COLUMNS>(Operands{q, k, v, mask, lengths}, y, problem, blocks);                                                      \
  }
TILES_KERNEL(1)
TILES_KERNEL(2)

/// Most elements of a query, or of a value, where each query has blocks of its own; threads that take the product with a key.
#define SIZE 1024
#define LANES 8

/// A query of a head, and where it meets the operands.
struct Query {
  unsigned image, head, index, mask_at;
  Range seen;
};

__device__ inline Query query_at(unsigned row, const Problem &p, const long long *lengths) {
  Query q;
  q.image = row;
  q.index = split(q.image, p.queries);
  q.head = split(q.image, p.heads);
  q.mask_at = q.image * p.mask_strides.batch + q.head * p.mask_strides.head + q.index * p.mask_strides.row;
  q.seen = visible(p, q.index, lengths, q.image);
  return q;
}

__device__ inline void load_query(float4 *to, const Query &q, const Problem &p, const void *from) {
  unsigned row = q.image * p.q.batch + q.head * p.q.head + q.index * p.q.row, at = threadIdx.x * 4;
  if (at < p.size)
    to[threadIdx.x] = quad_by_call(from, row, at, p.size, p);
}

/// Products of a query with THREADS keys from `key` on, before `end`, into `scores`.
__noinline__ __device__ void row_products(float *scores, const float4 *query, const Query &q, int key, int end,
                                          const Problem &p, const void *keys) {
  unsigned first = q.image * p.k.batch + p.group.divide(q.head) * p.k.head;
  __syncthreads(); // The query is written, and scores that were there are read.
#pragma unroll 1
  for (unsigned i = threadIdx.x / LANES; i < THREADS; i += THREADS / LANES) {
    float sum = 0.0f;
    if (key + (int)i < end) {
      unsigned row = first + (key + i) * p.k.row;
#pragma unroll 1
      for (unsigned at = threadIdx.x % LANES; at * 4 < p.size; at += LANES) {
        float4 x = query[at], y = quad_by_call(keys, row, at * 4, p.size, p);
        sum = fmaf(x.x, y.x, fmaf(x.y, y.y, fmaf(x.z, y.z, fmaf(x.w, y.w, sum))));
      }
    }
#pragma unroll
    for (int apart = LANES / 2; apart > 0; apart /= 2)
      sum += __shfl_xor_sync(0xffffffffu, sum, apart);
    if (threadIdx.x % LANES == 0)
      scores[i] = sum;
  }
  __syncthreads();
}

/// How many ranges the keys of a query are cut into, and keys of each. Of each range memory has its largest score, the sum of
/// its weights, and the weighed values.
struct Parts {
  Divisor count;
  unsigned keys;
};

KERNEL attention_rows(const void *q, const void *k, const void *v, const void *mask, const long long *lengths, void *y,
                      float *partial, UNIFORM Problem p, Parts parts) {
  __shared__ float4 queries[SIZE / 4], folded[THREADS];
  __shared__ float scores[THREADS];
  unsigned row = blockIdx.x, part = split(row, parts.count);
  Query query = query_at(row, p, lengths);
  int start = max(query.seen.start, (int)(part * parts.keys)), end = min(query.seen.end, (int)((part + 1) * parts.keys));
  load_query(queries, query, p, q);
  // Each thread sums four columns of every so many values.
  unsigned columns = (p.value_size + 3) / 4, apart = THREADS / columns, lane = threadIdx.x / columns;
  unsigned column = threadIdx.x % columns * 4, first = query.image * p.v.batch + p.group.divide(query.head) * p.v.head;
  float top = -INFINITY, total = 0.0f;
  float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
  for (int key = start; key < end; key += THREADS) {
    row_products(scores, queries, query, key, end, p, k);
    int here = key + (int)threadIdx.x;
    float score = -INFINITY;
    if (here < end)
      score = masked(p, capped(p, scores[threadIdx.x]), mask, query.mask_at + (unsigned)here);
    float largest = fmaxf(top, block_fold<Larger>(score)), share = share_of(top, largest), weight = weight_of(score, largest);
    top = largest;
    total = total * share + weight;
    scores[threadIdx.x] = weight;
    __syncthreads();
    sum = float4{sum.x * share, sum.y * share, sum.z * share, sum.w * share};
    unsigned count = lane < apart ? (unsigned)min(end - key, THREADS) : 0;
#pragma unroll 1
    for (unsigned i = lane; i < count; i += apart) {
      float w = scores[i];
      float4 value = {0.0f, 0.0f, 0.0f, 0.0f};
      if (w != 0.0f) // A key without weight does not count, whatever its value.
        value = quad_by_call(v, first + (key + i) * p.v.row, column, p.value_size, p);
      sum = float4{fmaf(w, value.x, sum.x), fmaf(w, value.y, sum.y), fmaf(w, value.z, sum.z), fmaf(w, value.w, sum.w)};
    }
  }
  total = block_fold<Sum>(total);
  folded[threadIdx.x] = sum;
  __syncthreads();
  partial += blockIdx.x * (p.value_size + 2);
  unsigned to = query.image * p.y.batch + query.head * p.y.head + query.index * p.y.row;
#pragma unroll 1
  for (unsigned i = threadIdx.x; i < p.value_size; i += THREADS) {
    float value = 0.0f;
#pragma unroll 1
    for (unsigned j = 0; j < apart; ++j)
      value += ((const float *)&folded[j * columns])[i];
    if (parts.count.value == 1)
      store_single(y, to + i, p.type, total == 0.0f ? 0.0f : value / total);
    else
      partial[2 + i] = value;
  }
  if (parts.count.value > 1 && threadIdx.x == 0) {
    partial[0] = top;
    partial[1] = total;
  }
}

/// One block brings the parts of a query together.
KERNEL attention_merge(const float *partial, void *y, UNIFORM Problem p, Parts parts) {
  unsigned image = blockIdx.x, len = p.value_size + 2, count = parts.count.value;
  partial += image * count * len;
  unsigned index = split(image, p.queries), head = split(image, p.heads);
  float top = -INFINITY;
#pragma unroll 1
  for (unsigned i = 0; i < count; ++i)
    top = fmaxf(top, partial[i * len]);
  unsigned to = image * p.y.batch + head * p.y.head + index * p.y.row;
#pragma unroll 1
  for (unsigned c = threadIdx.x; c < p.value_size; c += blockDim.x) {
    float sum = 0.0f, total = 0.0f;
#pragma unroll 1
    for (unsigned i = 0; i < count; ++i) {
      float share = share_of(partial[i * len], top);
      total += partial[i * len + 1] * share;
      sum += partial[i * len + 2 + c] * share;
    }
    store_single(y, to + c, p.type, total == 0.0f ? 0.0f : sum / total);
  }
}

/// One block writes the scores of a query at a stage.
KERNEL attention_scores(const void *q, const void *k, const void *mask, const long long *lengths, void *y, UNIFORM Problem p,
                        unsigned stage) {
  __shared__ float4 queries[SIZE / 4];
  __shared__ float scores[THREADS];
  Query query = query_at(blockIdx.x, p, lengths);
  load_query(queries, query, p, q);
  float top = -INFINITY, total = 0.0f;
  // Weights need the sum of all first.
#pragma unroll 1
  for (unsigned pass = stage == WEIGHTS ? 0 : 1; pass < 2; ++pass) {
#pragma unroll 1
    for (unsigned key = 0; key < p.keys; key += THREADS) {
      row_products(scores, queries, query, (int)key, (int)p.keys, p, k);
      unsigned here = key + threadIdx.x;
      bool counts = (int)here >= query.seen.start && (int)here < query.seen.end;
      float score = stage == PRODUCTS ? scores[threadIdx.x] * p.scale : capped(p, scores[threadIdx.x]);
      if (stage >= MASKED)
        score = counts ? masked(p, score, mask, query.mask_at + here) : -INFINITY;
      if (pass == 0) {
        float largest = fmaxf(top, block_fold<Larger>(score));
        total = total * share_of(top, largest) + weight_of(score, largest);
        top = largest;
      } else if (here < p.keys) {
        if (stage == WEIGHTS)
          score = total == 0.0f ? 0.0f : weight_of(score, top) / total;
        store_single(y, blockIdx.x * p.keys + here, p.type, score);
      }
    }
    if (pass == 0)
      total = block_fold<Sum>(total);
  }
}
