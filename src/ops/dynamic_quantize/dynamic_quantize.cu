// Quantization with a scale and zero point that fit the tensor; see mod.rs. Three launches: extremes of each block, the scale
// and zero point that follow, the elements.
#include "vector.cuh"

/// The smaller or larger one that is a number: NaN counts as nothing.
struct Low {
  static __device__ inline float of(float a, float b) { return fminf(a, b); }
};
struct High {
  static __device__ inline float of(float a, float b) { return fmaxf(a, b); }
};

KERNEL dynamic_quantize_extremes(const float *x, Vector<float, 2> *extremes, unsigned n) {
  float low = 0.0f, high = 0.0f;
#pragma unroll 4
  for (unsigned i = thread_index(); i < n; i += thread_count()) {
    low = Low::of(low, x[i]);
    high = High::of(high, x[i]);
  }
  low = block_fold<Low>(low);
  high = block_fold<High>(high);
  if (threadIdx.x == 0)
    extremes[blockIdx.x] = {low, high};
}

/// A single block; the scale and zero point go to `chosen` and, where they are asked for, to the outputs.
KERNEL dynamic_quantize_scale(const Vector<float, 2> *extremes, unsigned count, Vector<float, 2> *chosen, float *scales,
                              unsigned char *zeros) {
  float low = 0.0f, high = 0.0f;
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
    low = Low::of(low, extremes[i].at[0]);
    high = High::of(high, extremes[i].at[1]);
  }
  low = block_fold<Low>(low);
  high = block_fold<High>(high);
  if (threadIdx.x != 0)
    return;
  float scale = high > low ? (high - low) / 255.0f : 1.0f, zero = rintf(fminf(fmaxf(-low / scale, 0.0f), 255.0f));
  *chosen = {scale, zero};
  if (scales)
    *scales = scale;
  if (zeros)
    *zeros = (unsigned char)zero;
}

KERNEL dynamic_quantize(const float *x, unsigned char *y, const Vector<float, 2> *chosen, unsigned n) {
  float scale = chosen->at[0], zero = chosen->at[1];
  each_vector<4>(n, [=](unsigned i, auto size) {
    map_vector<size.value>(x + i, y + i, [=](float x) {
      float quotient = x / scale;
      return quotient == quotient ? (unsigned char)fminf(fmaxf(rintf(quotient) + zero, 0.0f), 255.0f) : (unsigned char)0;
    });
  });
}
