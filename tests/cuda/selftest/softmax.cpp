// A kernel of the library, beside a plain loop; and conversions of elements.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../math.hpp"
#include "selftest.hpp"

namespace {

enum Kind : unsigned { SOFTMAX, LOG_SOFTMAX, HARDMAX };

struct Float {
  using Element = float;
  static constexpr const char *KERNEL = "softmax_f32";
  static constexpr float TOLERANCE = 2e-6f;
  static float read(float value) { return value; }
  static float write(float value) { return value; }
};

struct Half {
  using Element = uint16_t;
  static constexpr const char *KERNEL = "softmax_f16";
  static constexpr float TOLERANCE = 1e-3f;
  static float read(uint16_t value) { return f16_to_float(value); }
  static uint16_t write(float value) { return f16_from_float(value); }
};

struct Brain {
  using Element = uint16_t;
  static constexpr const char *KERNEL = "softmax_bf16";
  static constexpr float TOLERANCE = 8e-3f;
  static float read(uint16_t value) { return __uint_as_float((unsigned)value << 16); }
  static uint16_t write(float value) { return (uint16_t)(__float_as_uint(value) >> 16); }
};

/// Numbers without a pattern, the same each time.
float noise(unsigned i) { return (float)((i * 2654435761u >> 8) % 4096) / 512.0f - 4.0f; }

/// Softmax of the row that begins at `start`.
void reference(const std::vector<float> &x, std::vector<float> &y, unsigned start, unsigned len, unsigned stride, Kind kind) {
  auto at = [&](unsigned i) { return start + i * stride; };
  unsigned first = 0;
  for (unsigned i = 0; i < len; ++i)
    first = x[at(i)] > x[at(first)] ? i : first;
  double sum = 0;
  for (unsigned i = 0; i < len; ++i)
    sum += exp((double)x[at(i)] - x[at(first)]);
  for (unsigned i = 0; i < len; ++i) {
    double value = (double)x[at(i)] - x[at(first)];
    double result = kind == SOFTMAX ? exp(value) / sum : kind == LOG_SOFTMAX ? value - log(sum) : i == first;
    y[at(i)] = (float)result;
  }
}

template <class F> void compare(Session &session, unsigned rows, unsigned len, unsigned stride, Kind kind) {
  using Element = typename F::Element;
  size_t count = (size_t)rows * len;
  std::vector<Element> x(count);
  std::vector<float> exact(count), expected(count);
  for (unsigned i = 0; i < count; ++i) {
    x[i] = F::write(noise(i));
    exact[i] = F::read(x[i]);
  }
  for (unsigned row = 0; row < rows; ++row)
    reference(exact, expected, row / stride * len * stride + row % stride, len, stride, kind);
  Memory from(count * sizeof(Element)), to(count * sizeof(Element));
  upload(from.at, x);
  OK(session.launch(F::KERNEL, rows, 256, nullptr, from.at, to.at, len, stride, (unsigned)kind));
  std::vector<Element> y = download<Element>(to.at, count);
  float worst = 0;
  for (size_t i = 0; i < count; ++i) {
    float error = std::abs(F::read(y[i]) - expected[i]) / std::max(std::abs(expected[i]), 1e-2f);
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  CHECK(worst <= F::TOLERANCE);
}

template <class F> void compare_all() {
  Session session("src/ops/softmax/softmax.ptx");
  for (Kind kind : {SOFTMAX, LOG_SOFTMAX, HARDMAX}) {
    compare<F>(session, 7, 1000, 1, kind);
    compare<F>(session, 40, 33, 20, kind);
    compare<F>(session, 3, 1, 1, kind);
  }
}

} // namespace

TEST(softmax_of_f32) { compare_all<Float>(); }

TEST(softmax_of_f16) { compare_all<Half>(); }

TEST(softmax_of_bf16) { compare_all<Brain>(); }

TEST(every_f16_is_a_float_and_back) {
  bool same = true;
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    float value = f16_to_float((uint16_t)bits);
    bool nan = (bits & 0x7c00u) == 0x7c00u && (bits & 0x3ffu) != 0;
    same &= nan ? std::isnan(value) && std::isnan(f16_to_float(f16_from_float(value))) : f16_from_float(value) == bits;
  }
  CHECK(same);
  CHECK(f16_to_float(0x3c01) == 1.0009765625f && f16_to_float(0x8001) == -0x1p-24f && f16_to_float(0x7bff) == 65504.0f);
}

/// Between two neighbours, what lies nearer to one becomes that, and the middle becomes the even one.
TEST(floats_round_to_the_nearest_f16) {
  bool right = true;
  for (unsigned bits = 0; bits < 0x7c00; ++bits) {
    float low = f16_to_float((uint16_t)bits), high = bits == 0x7bff ? 65536.0f : f16_to_float((uint16_t)(bits + 1));
    float middle = low + (high - low) / 2;
    right &= f16_from_float(middle) == (bits & 1 ? bits + 1 : bits);
    right &= f16_from_float(nextafterf(middle, 0.0f)) == bits;
    right &= f16_from_float(-nextafterf(middle, 1e9f)) == ((bits + 1) | 0x8000u);
  }
  CHECK(right);
  CHECK(f16_from_float(1e30f) == 0x7c00 && f16_from_float(-INFINITY) == 0xfc00 && f16_from_float(1e-30f) == 0);
}

TEST(conversions_to_integers_saturate) {
  CHECK(__float2int_rn(2.5f) == 2 && __float2int_rz(-2.7f) == -2 && __float2int_rd(-2.1f) == -3 && __float2int_ru(2.1f) == 3);
  CHECK(__float2int_rz(1e20f) == INT32_MAX && __float2int_rz(-1e20f) == INT32_MIN && __float2int_rz(NAN) == 0);
  CHECK(__float2uint_rn(-1.0f) == 0 && __float2uint_rz(5e9f) == UINT32_MAX && __float2ll_rz(1e30f) == INT64_MAX);
  CHECK(__dp4a(0x01020304, 0x7f7f7f7f, 1) == 1271 && __dp4a((int)0xff000000, 0x02000000, 0) == -2);
  CHECK(__byte_perm(0x33221100, 0x77665544, 0x7250) == 0x77225500 && __brev(1u) == 0x80000000u);
}
