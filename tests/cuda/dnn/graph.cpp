// Graphs: what holds of their parts, and what they compute.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <set>

#include "graph.hpp"

namespace dnn {

namespace {

/// cudnnDataType_t
enum { DATA_FLOAT = 0, DATA_HALF = 2, DATA_BFLOAT16 = 9 };

/// cudnnPointwiseMode_t
enum {
  ADD = 0,
  RELU = 100,
  TANH = 101,
  SIGMOID = 102,
  ELU = 103,
  GELU = 104,
  SOFTPLUS = 105,
  SWISH = 106,
  GELU_TANH = 107,
};

enum { CROSS_CORRELATION = 1 };

std::array<int64_t, 5> in_space(std::vector<int64_t> numbers, int64_t depth) {
  if (numbers.size() == 4)
    numbers.insert(numbers.begin() + 2, depth);
  std::array<int64_t, 5> five;
  std::copy(numbers.begin(), numbers.end(), five.begin());
  return five;
}

std::array<int64_t, 3> of_window(std::vector<int64_t> numbers, int64_t depth) {
  if (numbers.size() == 2)
    numbers.insert(numbers.begin(), depth);
  return {numbers[0], numbers[1], numbers[2]};
}

void check_tensor(const Descriptor &tensor) {
  auto dims = tensor.numbers(TENSOR_DIMS), strides = tensor.numbers(TENSOR_STRIDES);
  need(dims.size() == strides.size(), "as many strides as dimensions", SHAPE_MISMATCH);
  need(std::all_of(dims.begin(), dims.end(), [](int64_t n) { return n > 0; }), "dimensions are positive", OUT_OF_BOUND);
  need(std::all_of(strides.begin(), strides.end(), [](int64_t n) { return n > 0; }), "strides are positive", OUT_OF_BOUND);
  int type = tensor.code(TENSOR_TYPE);
  need(type == DATA_FLOAT || type == DATA_HALF || type == DATA_BFLOAT16, "no such element type here", NOT_SUPPORTED);
  int64_t alignment = tensor.number(TENSOR_ALIGNMENT), size = type == DATA_FLOAT ? 4 : 2;
  need(alignment >= size && (alignment & (alignment - 1)) == 0, "the alignment is a power of two, and at least an element");
}

void check_window(const Descriptor &window) {
  need(window.code(CONV_PRECISION) == DATA_FLOAT, "sums are f32 here", NOT_SUPPORTED);
  need(window.code(CONV_MODE) == CROSS_CORRELATION, "no kernel is turned around here", NOT_SUPPORTED);
  auto spatial = (size_t)window.number(CONV_SPATIAL_DIMS);
  for (Name name : {CONV_DILATIONS, CONV_STRIDES, CONV_PRE_PADDINGS, CONV_POST_PADDINGS}) {
    auto numbers = window.numbers(name);
    int64_t least = name == CONV_DILATIONS || name == CONV_STRIDES ? 1 : 0;
    need(numbers.size() == spatial, "one number for each dimension in space", SHAPE_MISMATCH);
    for (int64_t n : numbers)
      need(n >= least, "a window moves on", OUT_OF_BOUND);
  }
}

void check_convolution(const Descriptor &operation) {
  need(operation.get<float>(FORWARD_ALPHA) == 1 && operation.get<float>(FORWARD_BETA) == 0, "no factors here", NOT_SUPPORTED);
  const Descriptor &window = operation.part(FORWARD_WINDOW);
  auto x = operation.part(FORWARD_X).numbers(TENSOR_DIMS), w = operation.part(FORWARD_W).numbers(TENSOR_DIMS),
       y = operation.part(FORWARD_Y).numbers(TENSOR_DIMS);
  size_t spatial = window.number(CONV_SPATIAL_DIMS);
  need(x.size() == spatial + 2 && w.size() == x.size() && y.size() == x.size(), "tensors of the window's rank", SHAPE_MISMATCH);
  need(x[0] == y[0] && w[0] == y[1] && x[1] % w[1] == 0 && w[0] % (x[1] / w[1]) == 0, "channels and groups fit", SHAPE_MISMATCH);
  auto pre = window.numbers(CONV_PRE_PADDINGS), post = window.numbers(CONV_POST_PADDINGS);
  auto stride = window.numbers(CONV_STRIDES), dilation = window.numbers(CONV_DILATIONS);
  for (size_t d = 0; d < spatial; ++d) {
    int64_t covered = (w[d + 2] - 1) * dilation[d] + 1;
    int64_t room = x[d + 2] + pre[d] + post[d] - covered;
    need(room >= 0 && y[d + 2] == room / stride[d] + 1, "the output has the extents that follow", SHAPE_MISMATCH);
  }
}

void check_pointwise(const Descriptor &operation) {
  const Descriptor &mode = operation.part(OP_MODE);
  need(mode.code(PW_PRECISION) == DATA_FLOAT, "functions compute in f32 here", NOT_SUPPORTED);
  bool binary = mode.code(PW_MODE) == ADD;
  need(operation.has(OP_B) == binary, "as many operands as the function takes");
  need(operation.get<float>(OP_ALPHA1, 1) == 1 && operation.get<float>(OP_ALPHA2, 1) == 1, "no factors here", NOT_SUPPORTED);
  auto x = operation.part(OP_X).numbers(TENSOR_DIMS), y = operation.part(OP_Y).numbers(TENSOR_DIMS);
  need(x == y, "the result is of the operand's shape", SHAPE_MISMATCH);
  if (!binary)
    return;
  auto b = operation.part(OP_B).numbers(TENSOR_DIMS);
  need(b.size() == y.size(), "operands of one rank", SHAPE_MISMATCH);
  for (size_t d = 0; d < b.size(); ++d)
    need(b[d] == y[d] || b[d] == 1, "the second operand can be broadcast", SHAPE_MISMATCH);
}

Tensor tensor_of(const Descriptor &descriptor) {
  Tensor tensor;
  tensor.id = descriptor.number(TENSOR_ID);
  tensor.alignment = descriptor.number(TENSOR_ALIGNMENT);
  tensor.is_virtual = descriptor.get<uint8_t>(TENSOR_VIRTUAL) != 0;
  int type = descriptor.code(TENSOR_TYPE);
  tensor.type = type == DATA_FLOAT ? floats::F32 : type == DATA_HALF ? floats::F16 : floats::BF16;
  tensor.dims = in_space(descriptor.numbers(TENSOR_DIMS), 1);
  tensor.strides = in_space(descriptor.numbers(TENSOR_STRIDES), 1);
  return tensor;
}

Step step_of(const Descriptor &operation) {
  const Descriptor &mode = operation.part(OP_MODE);
  Step step = {mode.code(PW_MODE), operation.has(OP_B), {}, 0, 0, 0, 0};
  if (step.binary)
    step.operand = tensor_of(operation.part(OP_B));
  step.low = mode.get<double>(PW_LOWER_CLIP, 0.0);
  step.high = mode.get<double>(PW_UPPER_CLIP, DBL_MAX);
  step.slope = mode.get<double>(PW_SLOPE, 0.0);
  step.alpha = mode.get<double>(PW_ELU_ALPHA, 1.0);
  return step;
}

float applied(const Step &step, float x) {
  auto sigmoid = [](float x) { return 1.0f / (1.0f + expf(-x)); };
  switch (step.mode) {
  case RELU:
    return x < step.low ? (float)(step.low + step.slope * (x - step.low)) : x > step.high ? (float)step.high : x;
  case TANH:
    return tanhf(x);
  case SIGMOID:
    return sigmoid(x);
  case ELU:
    return x < 0 ? (float)step.alpha * expm1f(x) : x;
  case GELU:
    return 0.5f * x * erfcf(x * -0.70710678f);
  case SWISH:
    return x * sigmoid(x);
  case GELU_TANH:
    return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
  default:
    return x;
  }
}

} // namespace

void check(const Descriptor &descriptor) {
  switch (descriptor.kind) {
  case TENSOR:
    return check_tensor(descriptor);
  case CONVOLUTION:
    return check_window(descriptor);
  case OPERATION_CONVOLUTION:
    return check_convolution(descriptor);
  case OPERATION_POINTWISE:
    return check_pointwise(descriptor);
  case GRAPH:
    work_of(descriptor);
    return;
  default:
    return;
  }
}

Work work_of(const Descriptor &graph) {
  auto operations = graph.all<Descriptor *>(GRAPH_OPS);
  const Descriptor &first = *operations[0];
  need(first.kind == OPERATION_CONVOLUTION, "a graph begins with a convolution here", NOT_SUPPORTED_PATTERN);
  Work work;
  work.x = tensor_of(first.part(FORWARD_X));
  work.w = tensor_of(first.part(FORWARD_W));
  const Descriptor &window = first.part(FORWARD_WINDOW);
  work.stride = of_window(window.numbers(CONV_STRIDES), 1);
  work.dilation = of_window(window.numbers(CONV_DILATIONS), 1);
  work.pre = of_window(window.numbers(CONV_PRE_PADDINGS), 0);
  work.post = of_window(window.numbers(CONV_POST_PADDINGS), 0);
  Tensor result = tensor_of(first.part(FORWARD_Y));
  std::set<int64_t> ids = {work.x.id, work.w.id, result.id};
  size_t tensors = 3;
  for (size_t i = 1; i < operations.size(); ++i) {
    need(operations[i]->kind == OPERATION_POINTWISE, "functions follow here", NOT_SUPPORTED_PATTERN);
    need(result.is_virtual && result.type == floats::F32, "what lies between is virtual and f32", NOT_SUPPORTED_PATTERN);
    need(tensor_of(operations[i]->part(OP_X)).id == result.id, "each operation takes the result before", NOT_SUPPORTED_PATTERN);
    work.steps.push_back(step_of(*operations[i]));
    need(work.steps.back().mode != SOFTPLUS, "no engine fuses this", NOT_SUPPORTED_PATTERN);
    if (work.steps.back().binary)
      ids.insert(work.steps.back().operand.id), ++tensors;
    result = tensor_of(operations[i]->part(OP_Y));
    ids.insert(result.id), ++tensors;
  }
  need(ids.size() == tensors, "tensors have numbers of their own", DUPLICATED_ENTRIES);
  work.y = result;
  for (Tensor *tensor : work.operands())
    need(!tensor->is_virtual, "inputs and the last result are in memory");
  need(work.x.type == work.w.type, "factors of one type", NOT_SUPPORTED);
  return work;
}

std::vector<Tensor *> Work::operands() {
  std::vector<Tensor *> all = {&x, &w, &y};
  for (Step &step : steps)
    if (step.binary)
      all.push_back(&step.operand);
  return all;
}

void Work::run() const {
  int64_t group_in = w.dims[1], group_out = w.dims[0] / (x.dims[1] / group_in);
  auto factor = [&](const Tensor &tensor, int64_t offset) {
    float value = floats::load(tensor.at, tensor.type, offset);
    return tf32 && tensor.type == floats::F32 ? floats::tf32(value) : value;
  };
  std::array<int64_t, 5> o;
  auto sum_at = [&] {
    float sum = 0;
    int64_t first = o[1] / group_out * group_in, taps = w.dims[2] * w.dims[3] * w.dims[4];
    for (int64_t tap = 0; tap < taps; ++tap) {
      std::array<int64_t, 3> t = {tap / w.dims[4] / w.dims[3], tap / w.dims[4] % w.dims[3], tap % w.dims[4]};
      int64_t in_x = o[0] * x.strides[0], in_w = o[1] * w.strides[0];
      bool inside = true;
      for (int d = 0; d < 3; ++d) {
        int64_t at = o[d + 2] * stride[d] + t[d] * dilation[d] - pre[d];
        inside = inside && at >= 0 && at < x.dims[d + 2];
        in_x += at * x.strides[d + 2];
        in_w += t[d] * w.strides[d + 2];
      }
      for (int64_t i = 0; inside && i < group_in; ++i) {
        int64_t c = reversed ? group_in - 1 - i : i;
        sum += factor(x, in_x + (first + c) * x.strides[1]) * factor(w, in_w + c * w.strides[1]);
      }
    }
    return sum;
  };
  auto offset = [&](const Tensor &tensor) {
    int64_t at = 0;
    for (int d = 0; d < 5; ++d)
      at += (tensor.dims[d] == 1 ? 0 : o[d]) * tensor.strides[d];
    return at;
  };
  for (o[0] = 0; o[0] < y.dims[0]; ++o[0])
    for (o[1] = 0; o[1] < y.dims[1]; ++o[1])
      for (o[2] = 0; o[2] < y.dims[2]; ++o[2])
        for (o[3] = 0; o[3] < y.dims[3]; ++o[3])
          for (o[4] = 0; o[4] < y.dims[4]; ++o[4]) {
            float value = sum_at();
            for (const Step &step : steps)
              if (step.binary)
                value += floats::load(step.operand.at, step.operand.type, offset(step.operand));
              else
                value = applied(step, value);
            floats::store(y.at, y.type, offset(y), value);
          }
}

} // namespace dnn
