// A function of each element; see mod.rs.
#include "activation.cuh"
#include "number.cuh"
#include "vector.cuh"

/// In the order of UnaryKind; those from RELU on are activations, in their order.
enum Function {
  NEG, ABS, SIGN, CEIL, FLOOR, ROUND, SQRT, RSQRT, RECIPROCAL, EXP, LOG, SIN, COS, TAN, ASIN, ACOS, ATAN, SINH, COSH, ASINH, ACOSH,
  ATANH, ERF, SOFTSIGN, SELU, CELU, THRESHOLDED_RELU, SHRINK, SWISH, NOT, BIT_NOT, IS_NAN, IS_INF, RELU,
};

/// One of those that share the reduction of x to a quarter of the circle.
__device__ float trigonometric(float x, unsigned kind) {
  float sine, cosine;
  sincosf(x, &sine, &cosine);
  return kind == SIN ? sine : kind == COS ? cosine : sine / cosine;
}

/// The function of x. It is called, not inlined: the module has it once, whatever the types and places of elements.
__noinline__ __device__ float function(float x, unsigned kind, float alpha, float beta) {
  switch (kind) {
  case EXP:
    return expf(x);
  case LOG:
    return logf(x);
  case SIN:
  case COS:
  case TAN:
    return trigonometric(x, kind);
  case ASIN:
    return asinf(x);
  case ACOS:
    return acosf(x);
  case ATAN:
    return atanf(x);
  case SINH:
    return sinhf(x);
  case COSH:
    return coshf(x);
  case ASINH:
    return asinhf(x);
  case ACOSH:
    return acoshf(x);
  case ATANH:
    return atanhf(x);
  case ERF:
    return erff(x);
  case SELU:
    return beta * (x > 0.0f ? x : alpha * expm1f(x));
  case CELU:
    return fmaxf(x, 0.0f) + fminf(alpha * expm1f(x / alpha), 0.0f);
  case SWISH:
    return x * sigmoid(alpha * x);
  case NEG:
    return -x;
  case ABS:
    return fabsf(x);
  case SIGN:
    return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x * 0.0f;
  case CEIL:
    return ceilf(x);
  case FLOOR:
    return floorf(x);
  case ROUND:
    return rintf(x);
  case SQRT:
    return sqrtf(x);
  case RSQRT:
    return 1.0f / sqrtf(x);
  case RECIPROCAL:
    return 1.0f / x;
  case SOFTSIGN:
    return x / (1.0f + fabsf(x));
  case THRESHOLDED_RELU:
    return x > alpha ? x : 0.0f;
  case SHRINK:
    return x > beta ? x - alpha : x < -beta ? x + alpha : 0.0f;
  default:
    return activate(x, Activation{kind - RELU + ACTIVATION_RELU, alpha, beta});
  }
}

#define FLOAT_KERNEL(T, suffix)                                                                                                \
  KERNEL unary_##suffix(const T *x, T *y, unsigned n, unsigned kind, float alpha, float beta) {                                \
    each_vector<WIDE<T>>(n, [=](unsigned i, auto size) {                                                                       \
      map_vector<size.value>(x + i, y + i, [=](T x) { return from_float<T>(function(to_float(x), kind, alpha, beta)); });      \
    });                                                                                                                        \
  }
FLOATS(FLOAT_KERNEL)

/// Whether x is one of what is asked for: NaN, +inf, -inf.
__device__ bool is_special(float x, unsigned nan, unsigned positive, unsigned negative) {
  return (nan && x != x) || (positive && x == INFINITY) || (negative && x == -INFINITY);
}

KERNEL unary_test(const void *x, unsigned char *y, unsigned n, unsigned type, unsigned nan, unsigned positive,
                  unsigned negative) {
  unsigned i = thread_index();
  if (i < n)
    y[i] = is_special(load_single(x, i, type), nan, positive, negative);
}

/// The function of an integer; one of an unsigned type is never negative. The low bits of the result count.
__device__ unsigned long long of_integer(long long x, unsigned kind, bool is_signed) {
  bool negative = is_signed && x < 0;
  unsigned long long bits = (unsigned long long)x;
  switch (kind) {
  case NEG:
    return 0 - bits;
  case ABS:
    return negative ? 0 - bits : bits;
  case SIGN:
    return negative ? ~0ull : x != 0;
  case NOT:
    return x == 0;
  case BIT_NOT:
    return ~bits;
  default: // RELU
    return negative ? 0 : bits;
  }
}

KERNEL unary_integer(const void *x, void *y, unsigned n, unsigned type, unsigned kind, unsigned is_signed) {
  unsigned i = thread_index();
  if (i < n)
    store_integer(y, i, type, of_integer(load_integer(x, i, type), kind, is_signed != 0));
}
