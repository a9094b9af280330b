// Recurrent layers; see mod.rs. The products of all steps with W are there when the first step begins; a launch for each step,
// or two for a GRU that resets before its product, multiplies the hidden state with R and computes the cells.
#include "activation.cuh"
#include "number.cuh"

enum Kind { RNN, GRU, LSTM };

/// Functions that only cells use, after those of activation.cuh; numbers of function.rs.
enum { AFFINE = 64, THRESHOLDED_RELU, SCALED_TANH, SOFTSIGN };

/// A layer; `words` of cuda.rs writes it.
struct Layer {
  unsigned kind, hidden, batch, steps, directions, gates;
  /// Element type of the operands. Everything in the workspace is f32.
  unsigned type;
  unsigned batch_first, reverse, linear_before_reset, input_forget;
  /// Slices that the products with W are the sums of.
  unsigned slices;
  /// Bound on arguments; infinite for none.
  float clip;
  Activation functions[2][3];
};

/// Operands, null where they are absent, and what lies in the workspace.
struct Operands {
  const void *weights, *bias, *peepholes;
  const int *lengths;
  const float *projected, *before;
  float *after, *state, *reset;
  void *y;
};

/// The hidden state, or what a GRU's second stage multiplies; states of direction d begin at d * batch * hidden.
__device__ inline const float *multiplied(const Operands &o, unsigned stage) { return stage ? o.reset : o.before; }

/// Sequences, and units of the hidden state, of a block; threads that share a unit's products.
#define SEQUENCES 4
#define UNITS 32
#define PARTS (THREADS / UNITS)

/// Function f of a clipped argument. The cell state is no argument that is clipped.
__noinline__ __device__ float apply(const Layer &layer, unsigned direction, unsigned f, float x) {
  const Activation function = layer.functions[direction][f];
  if (f < 2 && layer.clip < INFINITY)
    x = clip(x, -layer.clip, layer.clip);
  switch (function.kind) {
  case AFFINE:
    return function.alpha * x + function.beta;
  case THRESHOLDED_RELU:
    return x < function.alpha ? 0.0f : x;
  case SCALED_TANH:
    return function.alpha * tanhf(function.beta * x);
  case SOFTSIGN:
    return x / (1.0f + fabsf(x));
  default:
    return activate(x, function);
  }
}

/// One unit of a sequence at a step.
struct Cell {
  unsigned direction, sequence, unit, step, stage;
};

/// Where the unit's state is.
__device__ inline unsigned state_at(const Layer &l, const Cell &c) {
  return (c.direction * l.batch + c.sequence) * l.hidden + c.unit;
}

__device__ inline float bias_at(const Layer &l, const Operands &o, const Cell &c, unsigned gate, unsigned of_r) {
  unsigned columns = l.gates * l.hidden;
  return o.bias ? load_single(o.bias, (2 * c.direction + of_r) * columns + gate * l.hidden + c.unit, l.type) : 0.0f;
}

/// The product of a row of X with W, and the biases that belong to it.
__noinline__ __device__ float projected(const Layer &l, const Operands &o, const Cell &c, unsigned row, unsigned gate) {
  unsigned rows = l.steps * l.batch, columns = l.gates * l.hidden, apart = l.directions * rows * columns;
  const float *at = o.projected + (c.direction * rows + row) * columns + gate * l.hidden + c.unit;
  float sum = 0.0f;
#pragma unroll 1
  for (unsigned i = 0; i < l.slices; ++i)
    sum += at[i * apart];
  // With the product before the reset, its bias comes before it, too.
  bool early = l.kind == GRU && l.linear_before_reset && gate == 2;
  return sum + bias_at(l, o, c, gate, 0) + (early ? 0.0f : bias_at(l, o, c, gate, 1));
}

/// Weight of the cell state in gate i, o or f.
__device__ inline float peephole(const Layer &l, const Operands &o, const Cell &c, unsigned gate) {
  return o.peepholes ? load_single(o.peepholes, (3 * c.direction + gate) * l.hidden + c.unit, l.type) : 0.0f;
}

/// The new hidden state, from the sums of both products for each gate.
__device__ inline float lstm(const Layer &l, const Operands &o, const Cell &c, float4 sums) {
  float &state = o.state[state_at(l, c)];
  float before = state, i = apply(l, c.direction, 0, fmaf(peephole(l, o, c, 0), before, sums.x));
  float f = l.input_forget ? 1.0f - i : apply(l, c.direction, 0, fmaf(peephole(l, o, c, 2), before, sums.z));
  float after = fmaf(f, before, i * apply(l, c.direction, 1, sums.w));
  state = after;
  return apply(l, c.direction, 0, fmaf(peephole(l, o, c, 1), after, sums.y)) * apply(l, c.direction, 2, after);
}

/// The cell, given products with R of the gates of this stage. The first stage of a GRU leaves its update gate as the state.
__noinline__ __device__ void compute(const Layer &l, const Operands &o, const Cell &c, float4 products) {
  unsigned at = state_at(l, c), length = l.steps;
  float before = o.before[at], result = 0.0f;
  if (o.lengths)
    length = (unsigned)min(max(o.lengths[c.sequence], 0), (int)l.steps);
  bool done = c.step >= length, two_stages = l.kind == GRU && !l.linear_before_reset;
  unsigned time = done || !(l.reverse || c.direction == 1) ? c.step : length - 1 - c.step;
  unsigned row = l.batch_first ? c.sequence * l.steps + time : time * l.batch + c.sequence;
  if (two_stages && c.stage == 0) {
    if (!done) {
      o.state[at] = apply(l, c.direction, 0, products.x + projected(l, o, c, row, 0));
      o.reset[at] = before * apply(l, c.direction, 0, products.y + projected(l, o, c, row, 1));
    }
    return;
  }
  if (!done && l.kind == RNN) {
    result = apply(l, c.direction, 0, products.x + projected(l, o, c, row, 0));
  } else if (!done && l.kind == LSTM) {
    result = lstm(l, o, c,
                  float4{products.x + projected(l, o, c, row, 0), products.y + projected(l, o, c, row, 1),
                         products.z + projected(l, o, c, row, 2), products.w + projected(l, o, c, row, 3)});
  } else if (!done) {
    float x = projected(l, o, c, row, 2), z, h;
    if (two_stages) {
      z = o.state[at];
      h = products.x + x;
    } else {
      z = apply(l, c.direction, 0, products.x + projected(l, o, c, row, 0));
      float r = apply(l, c.direction, 0, products.y + projected(l, o, c, row, 1));
      h = fmaf(products.z + bias_at(l, o, c, 2, 1), r, x);
    }
    h = apply(l, c.direction, 1, h);
    result = fmaf(z, before - h, h);
  }
  o.after[at] = done ? before : result;
  row = l.batch_first ? (c.sequence * l.steps + time) * l.directions + c.direction
                      : (time * l.directions + c.direction) * l.batch + c.sequence;
  store_single(o.y, row * l.hidden + c.unit, l.type, result);
}

/// A block computes UNITS units of SEQUENCES sequences; W is the type of the weights or of their bits.
template <class W> __device__ void step_of(const Layer &l, const Operands &o, unsigned step, unsigned stage) {
  __shared__ float parts[PARTS][4 * SEQUENCES][UNITS];
  unsigned unit = threadIdx.x % UNITS, part = threadIdx.x / UNITS, first = blockIdx.y * SEQUENCES, direction = blockIdx.z;
  Cell cell = {direction, first + part, blockIdx.x * UNITS + unit, step, stage};
  // A GRU of two stages has two gates in the first one, one in the second.
  bool two_stages = l.kind == GRU && !l.linear_before_reset;
  unsigned gate = two_stages && stage ? 2 : 0, gates = !two_stages ? l.gates : stage ? 1 : 2, columns = l.gates * l.hidden;
  const W *weights = (const W *)o.weights + direction * l.hidden * columns + gate * l.hidden + min(cell.unit, l.hidden - 1);
  const float *states = multiplied(o, stage) + direction * l.batch * l.hidden;
  unsigned row[SEQUENCES];
#pragma unroll
  for (unsigned b = 0; b < SEQUENCES; ++b)
    row[b] = min(first + b, l.batch - 1) * l.hidden;
  float sums[4][SEQUENCES] = {};
#pragma unroll 4
  for (unsigned k = part; k < l.hidden; k += PARTS) {
    float h[SEQUENCES];
#pragma unroll
    for (unsigned b = 0; b < SEQUENCES; ++b)
      h[b] = states[row[b] + k];
#pragma unroll
    for (unsigned g = 0; g < 4; ++g)
      if (g < gates) {
        float weight = widen(weights[k * columns + g * l.hidden], l.type);
#pragma unroll
        for (unsigned b = 0; b < SEQUENCES; ++b)
          sums[g][b] = fmaf(weight, h[b], sums[g][b]);
      }
  }
#pragma unroll
  for (unsigned g = 0; g < 4; ++g)
#pragma unroll
    for (unsigned b = 0; b < SEQUENCES; ++b)
      parts[part][g * SEQUENCES + b][unit] = sums[g][b];
  __syncthreads();
  if (part >= SEQUENCES || cell.sequence >= l.batch || cell.unit >= l.hidden)
    return;
  float4 products = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
  for (unsigned i = 0; i < PARTS; ++i) {
    products.x += parts[i][part][unit];
    products.y += parts[i][SEQUENCES + part][unit];
    products.z += parts[i][2 * SEQUENCES + part][unit];
    products.w += parts[i][3 * SEQUENCES + part][unit];
  }
  compute(l, o, cell, products);
}

#define RECURRENT_KERNEL(W, suffix)                                                                                            \
  KERNEL recurrent_step_##suffix(const void *weights, const void *bias, const int *lengths, const void *peepholes,             \
                                 const float *projected, const float *before, float *after, float *state, float *reset,        \
                                 void *y, UNIFORM Layer layer, unsigned step, unsigned stage) {                                \
    Operands operands = {weights, bias, peepholes, lengths, projected, before, after, state, reset, y};                        \
    step_of<W>(layer, operands, step, stage);                                                                                  \
  }
RECURRENT_KERNEL(float, f32)
RECURRENT_KERNEL(half, half)

/// States are [directions, batch, hidden] in the workspace, and [batch, directions, hidden] outside of it if the batch is
/// first.
struct States {
  unsigned hidden, batch, directions, type, batch_first;
};

/// Where an element of the workspace's states is outside of it.
__device__ inline unsigned outside(const States &s, unsigned index) {
  unsigned unit = index % s.hidden, row = index / s.hidden;
  return s.batch_first ? (row % s.batch * s.directions + row / s.batch) * s.hidden + unit : index;
}

KERNEL recurrent_begin(const void *initial, float *states, States s) {
  unsigned index = thread_index();
  if (index < s.hidden * s.batch * s.directions)
    states[index] = initial ? load_single(initial, outside(s, index), s.type) : 0.0f;
}

KERNEL recurrent_end(const float *states, void *last, States s) {
  unsigned index = thread_index();
  if (index < s.hidden * s.batch * s.directions)
    store_single(last, outside(s, index), s.type, states[index]);
}
