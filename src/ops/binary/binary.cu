// Functions of two tensors that broadcast; see mod.rs.
//
// The operands meet along a walk whose innermost dimension is that of a vector or a single value in each of them. Kernels
// compute N neighbours along it in a thread: as many as one access to memory holds where they divide the dimension, otherwise
// one.
#include "activation.cuh"
#include "number.cuh"
#include "walk.cuh"

/// In the order of BinaryKind.
enum Function {
  ADD, SUB, MUL, DIV, POW, MOD, FMOD, MIN, MAX, AND, OR, XOR, BIT_AND, BIT_OR, BIT_XOR, SHIFT_LEFT, SHIFT_RIGHT,
  EQUAL, LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL, PRELU,
};

/// Remainder with the sign of b.
__device__ float modulo(float a, float b) {
  float r = fmodf(a, b);
  return r == 0.0f ? copysignf(r, b) : (r < 0.0f) != (b < 0.0f) ? r + b : r;
}

/// a^b. The usual exponents give what multiplications do.
__device__ float power(float a, float b) {
  if (b == 2.0f)
    return a * a;
  if (b == 3.0f)
    return a * a * a;
  if (b == 0.5f)
    return a == -INFINITY ? -a : sqrtf(a) + 0.0f;
  return b == -1.0f ? 1.0f / a : powf(a, b);
}

/// An activation by a call, as an operation that ends with one computes little else.
__noinline__ __device__ float activate_rarely(float x, Activation f) { return activate(x, f); }

/// Functions that take longer than a call.
__noinline__ __device__ float by_call(float a, float b, unsigned kind) {
  return kind == DIV ? a / b : kind == POW ? power(a, b) : kind == MOD ? modulo(a, b) : fmodf(a, b);
}

/// a = f(a, b) for N elements.
template <unsigned N, class F> __device__ inline void combine(float (&a)[N], const float (&b)[N], F f) {
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    a[i] = f(a[i], b[i]);
}

template <unsigned N> __device__ inline void arithmetic(float (&a)[N], const float (&b)[N], unsigned kind) {
  switch (kind) {
  case ADD:
    return combine(a, b, [](float a, float b) { return a + b; });
  case SUB:
    return combine(a, b, [](float a, float b) { return a - b; });
  case MUL:
    return combine(a, b, [](float a, float b) { return a * b; });
  case MIN:
    return combine(a, b, [](float a, float b) { return Min::of(a, b); });
  case MAX:
    return combine(a, b, [](float a, float b) { return Max::of(a, b); });
  case PRELU:
    return combine(a, b, [](float a, float b) { return a < 0.0f ? b * a : a; });
  default:
    return combine(a, b, [=](float a, float b) { return by_call(a, b, kind); });
  }
}

__device__ inline bool is_relation(unsigned kind) { return kind == EQUAL || kind == LESS || kind == LESS_OR_EQUAL; }

template <class A> __device__ inline bool relation(A a, A b, unsigned kind) {
  return kind == EQUAL ? a == b : kind == LESS ? a < b : a <= b;
}

/// Whether a number is below zero.
__device__ inline bool negative(long long a) { return a < 0; }
__device__ inline bool negative(unsigned long long) { return false; }

/// a / b or the remainder for b that is not 0. Where the quotient overflows, negation wraps to it.
__device__ long long quotient(long long a, long long b) { return b == -1 ? (long long)(0 - (unsigned long long)a) : a / b; }
__device__ unsigned long long quotient(unsigned long long a, unsigned long long b) { return a / b; }

/// The function of integers, which are extended to 64 bits; the result's low bits count. `bits` is the width of the type.
template <class I> __device__ inline I integer(I a, I b, unsigned kind, unsigned bits) {
  typedef unsigned long long Word;
  Word m = (Word)a, n = (Word)b;
  I rest = 0;
  switch (kind) {
  case ADD:
    return (I)(m + n);
  case SUB:
    return (I)(m - n);
  case MUL:
    return (I)(m * n);
  case DIV:
    return b == 0 ? 0 : quotient(a, b);
  case MOD:
  case FMOD:
    rest = b == 0 ? 0 : (I)(m - (Word)quotient(a, b) * n);
    return kind == MOD && rest != 0 && negative(rest) != negative(b) ? rest + b : rest;
  case MIN:
    return a < b ? a : b;
  case MAX:
    return a < b ? b : a;
  case AND:
    return a != 0 && b != 0;
  case OR:
    return a != 0 || b != 0;
  case XOR:
    return (a != 0) != (b != 0);
  case BIT_AND:
    return a & b;
  case BIT_OR:
    return a | b;
  case BIT_XOR:
    return a ^ b;
  case SHIFT_LEFT:
    return n < bits ? (I)(m << n) : 0;
  case SHIFT_RIGHT:
    return n < bits ? a >> n : negative(a) ? -1 : 0;
  case EQUAL:
  case LESS:
  case LESS_OR_EQUAL:
    return relation(a, b, kind);
  default: // PRELU
    return negative(a) ? (I)(m * n) : a;
  }
}

__device__ long long by_call(long long a, long long b, unsigned kind, unsigned bits) { return integer(a, b, kind, bits); }
__device__ unsigned long long by_call(unsigned long long a, unsigned long long b, unsigned kind, unsigned bits) {
  return integer(a, b, kind, bits);
}

/// a^b modulo 2^64. Of negative powers only those of 1 and -1 are not fractions, which become 0.
__device__ unsigned long long integer_power(long long base, long long exponent) {
  if (exponent < 0)
    return base == 1 ? 1 : base == -1 ? (exponent & 1 ? ~0ull : 1) : 0;
  unsigned long long power = 1, a = (unsigned long long)base;
#pragma unroll 1
  for (; exponent > 0; exponent >>= 1, a *= a)
    if (exponent & 1)
      power *= a;
  return power;
}

#define OPERANDS(T, Y) const T *a, const T *b, Y *y, unsigned n, UNIFORM Walk<2> walk, unsigned kind

/// a = f(a, b), and the activation of that.
template <unsigned N>
__device__ inline void activated(float (&a)[N], const float (&b)[N], unsigned kind, Activation activation) {
  arithmetic(a, b, kind);
  if (activation.kind != ACTIVATION_NONE)
    combine(a, b, [=](float a, float) { return activate_rarely(a, activation); });
}

#define WIDE_KERNEL(T, suffix)                                                                                                 \
  KERNEL binary_##suffix##_wide(OPERANDS(T, T), Activation activation) {                                                       \
    constexpr unsigned N = WIDE<T>;                                                                                            \
    unsigned first = thread_index() * N, at[2];                                                                                \
    if (first >= n)                                                                                                            \
      return;                                                                                                                  \
    walk.locate(first, at);                                                                                                    \
    float left[N], right[N];                                                                                                   \
    load_operand(a, at[0], walk.step(0), left);                                                                                \
    load_operand(b, at[1], walk.step(1), right);                                                                               \
    activated(left, right, kind, activation);                                                                                  \
    store_vector(y + first, left);                                                                                             \
  }
FLOATS(WIDE_KERNEL)

/// Relations and, a thread for each element, arithmetic of floats.
KERNEL binary_float(OPERANDS(void, void), Activation activation, unsigned type) {
  unsigned i = thread_index(), at[2];
  if (i >= n)
    return;
  walk.locate(i, at);
  float left[1] = {load_single(a, at[0], type)}, right[1] = {load_single(b, at[1], type)};
  if (is_relation(kind)) {
    ((unsigned char *)y)[i] = relation(left[0], right[0], kind);
    return;
  }
  activated(left, right, kind, activation);
  store_single(y, i, type, left[0]);
}

/// The function of elements of an integer or boolean type; relations are stored as bool.
template <class Wide>
__device__ inline void integers(const void *a, const void *b, void *y, const unsigned (&at)[2], unsigned i, unsigned kind,
                                unsigned type, unsigned bits) {
  Wide value = by_call((Wide)load_integer(a, at[0], type), (Wide)load_integer(b, at[1], type), kind, bits);
  store_integer(y, i, is_relation(kind) ? (unsigned)BOOL : type, (unsigned long long)value);
}

KERNEL binary_integer(OPERANDS(void, void), unsigned type, unsigned bits) {
  unsigned i = thread_index(), at[2];
  if (i >= n)
    return;
  walk.locate(i, at);
  if (type == U64)
    integers<unsigned long long>(a, b, y, at, i, kind, type, bits);
  else
    integers<long long>(a, b, y, at, i, kind, type, bits);
}

/// Powers of a base and an exponent of two types: floats to any power but f64, and integers to integers.
KERNEL binary_power(const void *a, const void *b, void *y, unsigned n, UNIFORM Walk<2> walk, unsigned base, unsigned exponent) {
  unsigned i = thread_index(), at[2];
  if (i >= n)
    return;
  walk.locate(i, at);
  if (base <= BF16) {
    store_single(y, i, base, by_call(load_float(a, at[0], base), load_float(b, at[1], exponent), POW));
    return;
  }
  long long e = load_integer(b, at[1], exponent);
  // A u64 that looks negative is large: all that matters is whether it is odd.
  e = exponent == U64 && e < 0 ? (long long)(0x7ffffffffffffffeull | (e & 1)) : e;
  store_integer(y, i, base, integer_power(load_integer(a, at[0], base), e));
}
