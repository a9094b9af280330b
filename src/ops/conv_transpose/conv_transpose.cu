// Transposed convolutions. Either a product of matrices has computed what each input pixel contributes by each tap, and outputs
// gather what reaches them; or, where groups have few channels, outputs compute that themselves. One thread computes one
// output.
#include "activation.cuh"

/// How inputs reach outputs, passed by value; Reach::words in cuda.rs writes it.
struct Reach {
  unsigned batch, input[3], output[3], kernel[3], stride[3], dilation[3], pad[3], groups, group_in, group_out;
};

/// An output: its image, its coordinates counted from the padding on, its channel.
struct Target {
  unsigned image, at[3], channel;

  __device__ Target(const Reach &r, unsigned index) {
    unsigned channels = r.groups * r.group_out;
    channel = index % channels;
    index /= channels;
#pragma unroll
    for (int d = 2; d >= 0; --d) {
      at[d] = index % r.output[d] + r.pad[d];
      index /= r.output[d];
    }
    image = index;
  }
};

/// The input that reaches coordinate `at` by a tap, or one outside.
__device__ inline unsigned source(const Reach &r, int d, unsigned at, unsigned tap) {
  unsigned reached = at - tap * r.dilation[d], i = reached / r.stride[d];
  return at >= tap * r.dilation[d] && i * r.stride[d] == reached ? i : ~0u;
}

/// Calls `add(pixel, tap)` for each input pixel that reaches the output, in the order of the taps.
template <class Add> __device__ inline void each_source(const Reach &r, const Target &to, Add &add) {
#pragma unroll 1
  for (unsigned d = 0; d < r.kernel[0]; ++d) {
    unsigned z = source(r, 0, to.at[0], d);
    if (z >= r.input[0])
      continue;
#pragma unroll 1
    for (unsigned h = 0; h < r.kernel[1]; ++h) {
      unsigned y = source(r, 1, to.at[1], h);
      if (y >= r.input[1])
        continue;
#pragma unroll 1
      for (unsigned w = 0; w < r.kernel[2]; ++w) {
        unsigned x = source(r, 2, to.at[2], w);
        if (x < r.input[2])
          add(((to.image * r.input[0] + z) * r.input[1] + y) * r.input[2] + x, (d * r.kernel[1] + h) * r.kernel[2] + w);
      }
    }
  }
}

__device__ inline unsigned taps(const Reach &r) { return r.kernel[0] * r.kernel[1] * r.kernel[2]; }

/// Adds the contributions that a product has left, [slices][groups][pixels][channels of a group][taps].
struct Gather {
  const float *of_channel;
  unsigned row, slices;
  unsigned long long slice;
  float sum = 0.0f;

  __device__ Gather(const float *sums, const Reach &r, const Target &to, unsigned slices) : slices(slices) {
    unsigned pixels = r.batch * r.input[0] * r.input[1] * r.input[2];
    row = r.group_out * taps(r);
    slice = (unsigned long long)r.groups * pixels * row;
    of_channel = sums + (to.channel / r.group_out * pixels * row + to.channel % r.group_out * taps(r));
  }

  __device__ void operator()(unsigned pixel, unsigned tap) {
    const float *x = of_channel + pixel * row + tap;
#pragma unroll 1
    for (unsigned i = 0; i < slices; ++i, x += slice)
      sum += *x;
  }
};

/// Adds products of inputs and weights.
template <class T> struct Products {
  const T *x, *weights;
  unsigned channels, group_in;
  float sum = 0.0f;

  __device__ Products(const T *x, const T *weights, const Reach &r, const Target &to)
      : x(x + to.channel / r.group_out * r.group_in), weights(weights + to.channel * taps(r) * r.group_in),
        channels(r.groups * r.group_in), group_in(r.group_in) {}

  __device__ void operator()(unsigned pixel, unsigned tap) {
#pragma unroll 1
    for (unsigned i = 0; i < group_in; ++i)
      sum += to_float(x[pixel * channels + i]) * to_float(weights[tap * group_in + i]);
  }
};

template <class T> __device__ void finish(float sum, const Target &to, const T *bias, T *y, Activation activation) {
  if (bias)
    sum += to_float(bias[to.channel]);
  y[thread_index()] = from_float<T>(activate(sum, activation));
}

#define KERNELS(T, suffix)                                                                                                     \
  KERNEL conv_transpose_gather_##suffix(const float *sums, const T *bias, T *y, Reach r, unsigned n, unsigned slices,          \
                                        Activation activation) {                                                               \
    if (thread_index() >= n)                                                                                                   \
      return;                                                                                                                  \
    Target to(r, thread_index());                                                                                              \
    Gather gather(sums, r, to, slices);                                                                                        \
    each_source(r, to, gather);                                                                                                \
    finish(gather.sum, to, bias, y, activation);                                                                               \
  }                                                                                                                            \
  KERNEL conv_transpose_direct_##suffix(const T *x, const T *weights, const T *bias, T *y, Reach r, unsigned n,                \
                                        Activation activation) {                                                               \
    if (thread_index() >= n)                                                                                                   \
      return;                                                                                                                  \
    Target to(r, thread_index());                                                                                              \
    Products<T> products(x, weights, r, to);                                                                                   \
    each_source(r, to, products);                                                                                              \
    finish(products.sum, to, bias, y, activation);                                                                             \
  }
FLOATS(KERNELS)
