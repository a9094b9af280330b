// Descriptors of cuDNN's graphs as the documentation has them: what kinds there are, which attributes each has, of which type
// and how many elements, and which of them must be there before it is finalised.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

namespace dnn {

/// cudnnStatus_t
enum Status {
  SUCCESS = 0,
  NOT_INITIALIZED = 1001,
  BAD_PARAM = 2000,
  NULL_POINTER = 2002,
  MISALIGNED_POINTER = 2003,
  NOT_FINALIZED = 2004,
  OUT_OF_BOUND = 2005,
  SHAPE_MISMATCH = 2008,
  DUPLICATED_ENTRIES = 2009,
  WRONG_TYPE = 2010,
  WRONG_DESCRIPTOR = 2012,
  NOT_SUPPORTED = 3000,
  NOT_SUPPORTED_PATTERN = 3001,
  EXECUTION_FAILED = 5000,
};

/// cudnnBackendAttributeType_t
enum Type {
  HANDLE = 0,
  DATA_TYPE = 1,
  BOOLEAN = 2,
  INT64 = 3,
  FLOAT = 4,
  DOUBLE = 5,
  VOID_PTR = 6,
  CONVOLUTION_MODE = 7,
  HEUR_MODE = 8,
  KNOB_TYPE = 9,
  NAN_PROPAGATION = 10,
  NUMERICAL_NOTE = 11,
  POINTWISE_MODE = 14,
  DESCRIPTOR = 15,
};

/// cudnnBackendDescriptorType_t
enum Kind {
  POINTWISE = 0,
  CONVOLUTION = 1,
  ENGINE = 2,
  ENGINE_CONFIG = 3,
  HEURISTIC = 4,
  PLAN = 5,
  KNOB_CHOICE = 7,
  OPERATION_CONVOLUTION = 10,
  OPERATION_POINTWISE = 13,
  GRAPH = 15,
  VARIANT_PACK = 16,
  TENSOR = 17,
};

/// cudnnBackendAttributeName_t
enum Name {
  PW_MODE = 0,
  PW_PRECISION = 1,
  PW_NAN = 2,
  PW_LOWER_CLIP = 3,
  PW_UPPER_CLIP = 4,
  PW_SLOPE = 5,
  PW_ELU_ALPHA = 6,
  PW_SOFTPLUS_BETA = 7,
  PW_SWISH_BETA = 8,
  CONV_PRECISION = 100,
  CONV_MODE = 101,
  CONV_DILATIONS = 102,
  CONV_STRIDES = 103,
  CONV_POST_PADDINGS = 104,
  CONV_PRE_PADDINGS = 105,
  CONV_SPATIAL_DIMS = 106,
  HEUR_MODE_OF = 200,
  HEUR_GRAPH = 201,
  HEUR_RESULTS = 202,
  CONFIG_ENGINE = 300,
  CONFIG_KNOBS = 302,
  PLAN_HANDLE = 400,
  PLAN_CONFIG = 401,
  PLAN_WORKSPACE = 402,
  KNOB_TYPE_OF = 600,
  KNOB_VALUE = 601,
  FORWARD_ALPHA = 700,
  FORWARD_BETA = 701,
  FORWARD_WINDOW = 702,
  FORWARD_W = 703,
  FORWARD_X = 704,
  FORWARD_Y = 705,
  OP_MODE = 750,
  OP_X = 751,
  OP_B = 752,
  OP_Y = 753,
  OP_ALPHA1 = 754,
  OP_ALPHA2 = 755,
  GRAPH_HANDLE = 800,
  GRAPH_OPS = 801,
  TENSOR_ALIGNMENT = 900,
  TENSOR_TYPE = 901,
  TENSOR_DIMS = 902,
  TENSOR_STRIDES = 903,
  TENSOR_ID = 906,
  TENSOR_VIRTUAL = 907,
  PACK_IDS = 1000,
  PACK_POINTERS = 1001,
  PACK_WORKSPACE = 1003,
  ENGINE_GRAPH = 1300,
  ENGINE_INDEX = 1301,
  ENGINE_NOTES = 1303,
};

struct Failure {
  Status status;
  const char *reason;
};

inline void need(bool condition, const char *reason, Status status = BAD_PARAM) {
  if (!condition)
    throw Failure{status, reason};
}

inline size_t size_of(Type type) {
  switch (type) {
  case BOOLEAN:
    return 1;
  case INT64:
  case DOUBLE:
  case HANDLE:
  case VOID_PTR:
  case DESCRIPTOR:
    return 8;
  default:
    return 4;
  }
}

/// An attribute that may be set.
struct Rule {
  Name name;
  Type type;
  int64_t least, most;
  /// What a descriptor has to be; -1 is an operation.
  int kind = -1;
};

/// The attributes of a kind; those of which there may be none are optional.
inline const std::vector<Rule> &rules(Kind kind) {
  static const std::map<Kind, std::vector<Rule>> all = {
      {POINTWISE,
       {{PW_MODE, POINTWISE_MODE, 1, 1},
        {PW_PRECISION, DATA_TYPE, 1, 1},
        {PW_NAN, NAN_PROPAGATION, 0, 1},
        {PW_LOWER_CLIP, DOUBLE, 0, 1},
        {PW_UPPER_CLIP, DOUBLE, 0, 1},
        {PW_SLOPE, DOUBLE, 0, 1},
        {PW_ELU_ALPHA, DOUBLE, 0, 1},
        {PW_SOFTPLUS_BETA, DOUBLE, 0, 1},
        {PW_SWISH_BETA, DOUBLE, 0, 1}}},
      {CONVOLUTION,
       {{CONV_PRECISION, DATA_TYPE, 1, 1},
        {CONV_MODE, CONVOLUTION_MODE, 1, 1},
        {CONV_DILATIONS, INT64, 2, 3},
        {CONV_STRIDES, INT64, 2, 3},
        {CONV_POST_PADDINGS, INT64, 2, 3},
        {CONV_PRE_PADDINGS, INT64, 2, 3},
        {CONV_SPATIAL_DIMS, INT64, 1, 1}}},
      {ENGINE, {{ENGINE_GRAPH, DESCRIPTOR, 1, 1, GRAPH}, {ENGINE_INDEX, INT64, 1, 1}}},
      {ENGINE_CONFIG, {{CONFIG_ENGINE, DESCRIPTOR, 1, 1, ENGINE}, {CONFIG_KNOBS, DESCRIPTOR, 0, 64, KNOB_CHOICE}}},
      {HEURISTIC, {{HEUR_MODE_OF, HEUR_MODE, 1, 1}, {HEUR_GRAPH, DESCRIPTOR, 1, 1, GRAPH}}},
      {PLAN, {{PLAN_HANDLE, HANDLE, 1, 1}, {PLAN_CONFIG, DESCRIPTOR, 1, 1, ENGINE_CONFIG}}},
      {KNOB_CHOICE, {{KNOB_TYPE_OF, KNOB_TYPE, 1, 1}, {KNOB_VALUE, INT64, 1, 1}}},
      {OPERATION_CONVOLUTION,
       {{FORWARD_ALPHA, FLOAT, 1, 1},
        {FORWARD_BETA, FLOAT, 1, 1},
        {FORWARD_WINDOW, DESCRIPTOR, 1, 1, CONVOLUTION},
        {FORWARD_W, DESCRIPTOR, 1, 1, TENSOR},
        {FORWARD_X, DESCRIPTOR, 1, 1, TENSOR},
        {FORWARD_Y, DESCRIPTOR, 1, 1, TENSOR}}},
      {OPERATION_POINTWISE,
       {{OP_MODE, DESCRIPTOR, 1, 1, POINTWISE},
        {OP_X, DESCRIPTOR, 1, 1, TENSOR},
        {OP_B, DESCRIPTOR, 0, 1, TENSOR},
        {OP_Y, DESCRIPTOR, 1, 1, TENSOR},
        {OP_ALPHA1, FLOAT, 0, 1},
        {OP_ALPHA2, FLOAT, 0, 1}}},
      {GRAPH, {{GRAPH_HANDLE, HANDLE, 1, 1}, {GRAPH_OPS, DESCRIPTOR, 1, 50}}},
      {VARIANT_PACK, {{PACK_IDS, INT64, 1, 64}, {PACK_POINTERS, VOID_PTR, 1, 64}, {PACK_WORKSPACE, VOID_PTR, 1, 1}}},
      {TENSOR,
       {{TENSOR_ALIGNMENT, INT64, 1, 1},
        {TENSOR_TYPE, DATA_TYPE, 1, 1},
        {TENSOR_DIMS, INT64, 4, 5},
        {TENSOR_STRIDES, INT64, 4, 5},
        {TENSOR_ID, INT64, 1, 1},
        {TENSOR_VIRTUAL, BOOLEAN, 0, 1}}},
  };
  auto found = all.find(kind);
  need(found != all.end(), "there is no such kind of descriptor", NOT_SUPPORTED);
  return found->second;
}

/// An object of a kind with its attributes.
struct Descriptor {
  Kind kind;
  bool finalized = false;
  std::map<int, std::vector<uint8_t>> values = {};

  bool has(Name name) const { return values.count(name) > 0; }

  template <class T> std::vector<T> all(Name name) const {
    auto found = values.find(name);
    if (found == values.end())
      return {};
    std::vector<T> elements(found->second.size() / sizeof(T));
    memcpy(elements.data(), found->second.data(), found->second.size());
    return elements;
  }
  template <class T> T get(Name name, T otherwise = {}) const { return has(name) ? all<T>(name)[0] : otherwise; }
  std::vector<int64_t> numbers(Name name) const { return all<int64_t>(name); }
  int64_t number(Name name) const { return get<int64_t>(name); }
  int code(Name name) const { return get<int32_t>(name, -1); }
  const Descriptor &part(Name name) const { return *get<Descriptor *>(name); }

  template <class T> void put(Name name, std::vector<T> elements) {
    auto *bytes = (const uint8_t *)elements.data();
    values[name].assign(bytes, bytes + elements.size() * sizeof(T));
  }
};

} // namespace dnn
