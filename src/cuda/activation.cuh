// The functions that can end another operation: src/cpu/activation.rs has their definitions, src/ops/activation.rs their
// numbers.
#pragma once
#include "prelude.cuh"

enum ActivationKind {
  ACTIVATION_NONE,
  ACTIVATION_RELU,
  ACTIVATION_CLIP,
  ACTIVATION_LEAKY_RELU,
  ACTIVATION_ELU,
  ACTIVATION_SIGMOID,
  ACTIVATION_TANH,
  ACTIVATION_SILU,
  ACTIVATION_HARD_SIGMOID,
  ACTIVATION_HARD_SWISH,
  ACTIVATION_GELU,
  ACTIVATION_GELU_TANH,
  ACTIVATION_SOFTPLUS,
  ACTIVATION_MISH,
};

/// A function and its parameters, passed by value.
struct Activation {
  unsigned kind;
  float alpha, beta;
};

/// x, or the bound that it is below of; NaN for NaN.
__device__ inline float at_least(float x, float low) { return x < low ? low : x; }

/// min(max(x, low), high); NaN for NaN.
__device__ inline float clip(float x, float low, float high) {
  x = at_least(x, low);
  return x > high ? high : x;
}

__device__ inline float sigmoid(float x) {
  float e = expf(-fabsf(x)); // At most 1, so that nothing overflows.
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

__device__ inline float softplus(float x) { return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x))); }

/// tanh(ln(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2).
__device__ inline float mish(float x) {
  // Above 20 the factor is 1 in f32; below -150 the result is zero.
  x = at_least(x, -150.0f);
  float e = expf(x > 20.0f ? 20.0f : x), n = e * (e + 2.0f);
  return x * (n / (n + 2.0f));
}

/// The functions of more than an operation or two. They are called, not inlined: a module has them once, however many kernels
/// end with one. Bounds below stand for the limit at minus infinity, which is zero where the product is not a number.
__noinline__ __device__ inline float activate_by_call(float x, Activation f) {
  switch (f.kind) {
  case ACTIVATION_ELU:
    return x < 0.0f ? f.alpha * expm1f(x) : x;
  case ACTIVATION_SIGMOID:
    return sigmoid(x);
  case ACTIVATION_TANH:
    return tanhf(x);
  case ACTIVATION_SILU:
    x = at_least(x, -105.0f);
    return x * sigmoid(x);
  case ACTIVATION_HARD_SIGMOID:
    return clip(x * f.alpha + f.beta, 0.0f, 1.0f);
  case ACTIVATION_HARD_SWISH:
    x = at_least(x, -3.0f);
    return x * clip(x * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f);
  case ACTIVATION_GELU:
    x = at_least(x, -15.0f);
    return x * 0.5f * erfcf(x * -0.70710678f);
  case ACTIVATION_GELU_TANH:
    x = at_least(x, -10.7f);
    return x * sigmoid(x * (1.5957691f * 0.044715f * x * x + 1.5957691f));
  case ACTIVATION_SOFTPLUS:
    return softplus(x);
  case ACTIVATION_MISH:
    return mish(x);
  default:
    return x;
  }
}

/// The function at x. `f` is the same for all threads.
__device__ inline float activate(float x, Activation f) {
  switch (f.kind) {
  case ACTIVATION_NONE:
    return x;
  case ACTIVATION_RELU:
    return at_least(x, 0.0f);
  case ACTIVATION_CLIP:
    return clip(x, f.alpha, f.beta);
  case ACTIVATION_LEAKY_RELU:
    return x < 0.0f ? f.alpha * x : x;
  default:
    return activate_by_call(x, f);
  }
}
