// A function of each element; see mod.rs.
#include "activation.cuh"
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

#define FLOAT_KERNEL(T, suffix)                                                                                                 \
  KERNEL unary_##suffix(const T *x, T *y, unsigned n, unsigned kind, float alpha, float beta) {                                 \
    each_vector<WIDE<T>>(n, [=](unsigned i, auto size) {                                                                        \
      map_vector<size.value>(x + i, y + i, [=](T x) { return from_float<T>(function(to_float(x), kind, alpha, beta)); });       \
    });                                                                                                                         \
  }
FLOATS(FLOAT_KERNEL)

/// Whether x is one of what is asked for: NaN, +inf, -inf.
__device__ bool is_special(float x, unsigned nan, unsigned positive, unsigned negative) {
  return (nan && x != x) || (positive && x == INFINITY) || (negative && x == -INFINITY);
}

#define TEST_KERNEL(T, suffix)                                                                                                  \
  KERNEL unary_test_##suffix(const T *x, unsigned char *y, unsigned n, unsigned nan, unsigned positive, unsigned negative) {    \
    unsigned i = thread_index();                                                                                                \
    if (i < n)                                                                                                                  \
      y[i] = is_special(to_float(x[i]), nan, positive, negative);                                                               \
  }
FLOATS(TEST_KERNEL)

/// The function of an integer; one of an unsigned type is never negative.
template <class Signed> __device__ Signed of_integer(Signed x, unsigned kind, bool is_signed) {
  bool negative = is_signed && x < 0;
  unsigned long long bits = (unsigned long long)(long long)x;
  switch (kind) {
  case NEG:
    return (Signed)(0 - bits);
  case ABS:
    return negative ? (Signed)(0 - bits) : x;
  case SIGN:
    return negative ? -1 : x != 0;
  case NOT:
    return x == 0;
  case BIT_NOT:
    return (Signed)~bits;
  default: // RELU
    return negative ? 0 : x;
  }
}

#define INTEGER_KERNEL(T, suffix)                                                                                               \
  KERNEL unary_##suffix(const T *x, T *y, unsigned n, unsigned kind, unsigned is_signed) {                                      \
    unsigned i = thread_index();                                                                                                \
    if (i < n)                                                                                                                  \
      y[i] = of_integer(x[i], kind, is_signed != 0);                                                                            \
  }
INTEGER_KERNEL(signed char, b8)
INTEGER_KERNEL(short, b16)
INTEGER_KERNEL(int, b32)
INTEGER_KERNEL(long long, b64)
