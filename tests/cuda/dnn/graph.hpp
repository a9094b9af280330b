// What a graph computes: a convolution, and what is done to its results one after another.
#pragma once

#include <array>
#include <vector>

#include "descriptor.hpp"
#include "floats.hpp"

namespace dnn {

/// A tensor of three dimensions in space; of two, the first one is 1.
struct Tensor {
  int64_t id = 0, alignment = 1;
  bool is_virtual = false;
  floats::Kind type = floats::F32;
  std::array<int64_t, 5> dims = {}, strides = {};
  void *at = nullptr;
};

/// An operation on single elements.
struct Step {
  int mode;
  bool binary;
  /// What is added, where the operation has a second operand.
  Tensor operand;
  double low, high, slope, alpha;
};

/// A graph that an engine takes.
struct Work {
  Tensor x, w, y;
  std::array<int64_t, 3> stride = {}, dilation = {}, pre = {}, post = {};
  std::vector<Step> steps = {};
  /// What engines do differently.
  bool tf32 = false, reversed = false;

  /// The tensors that are in memory.
  std::vector<Tensor *> operands();
  void run() const;
};

/// Checks one descriptor when it is finalised.
void check(const Descriptor &descriptor);

/// The work of a graph, which is checked.
Work work_of(const Descriptor &graph);

} // namespace dnn
