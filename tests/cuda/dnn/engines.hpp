// The engines that cuDNN's stand-in has for every graph.
#pragma once

#include <utility>
#include <vector>

#include "descriptor.hpp"

namespace dnn {

/// Engines, by their numbers.
enum Index {
  PLAIN,
  /// Rounds f32 to TF32. Its first knob turns the order of the sums around.
  TENSOR_CORES,
  /// These must not be used: one is not deterministic, the other needs more memory than anybody has.
  RACING,
  GREEDY,
  /// Fails when it runs.
  BROKEN,
  /// Cannot be prepared.
  ABSENT,
  ENGINES,
};

/// cudnnBackendHeurMode_t
enum { MODE_B = 1, MODE_FALLBACK = 2, MODE_A = 3 };

/// cudnnBackendNumericalNote_t
enum { NOTE_TENSOR_CORE = 0, NOTE_NONDETERMINISTIC = 4 };

/// Knobs of TENSOR_CORES, of which the first has two settings and the other one.
constexpr int TURNED = 2, STAGES = 5;

/// A number of an engine, and whether it is turned.
struct Proposal {
  Index index;
  int64_t turned;
};

inline std::vector<Proposal> proposals(int mode) {
  switch (mode) {
  case MODE_A:
    return {{RACING, 0}, {ABSENT, 0}, {TENSOR_CORES, 0}, {BROKEN, 0}, {PLAIN, 0}};
  case MODE_B:
    return {{TENSOR_CORES, 0}, {GREEDY, 0}, {TENSOR_CORES, 1}};
  case MODE_FALLBACK:
    return {{PLAIN, 0}};
  default:
    throw Failure{NOT_SUPPORTED, "no such heuristic here"};
  }
}

inline std::vector<int32_t> notes(int64_t index) {
  switch (index) {
  case TENSOR_CORES:
    return {NOTE_TENSOR_CORE};
  case RACING:
    return {NOTE_NONDETERMINISTIC};
  default:
    return {};
  }
}

inline int64_t workspace(int64_t index) { return index == TENSOR_CORES ? 1024 : index == GREEDY ? (int64_t)1 << 40 : 0; }

/// The value of a knob, which has to be set if the engine has it.
inline int64_t knob(const Descriptor &config, int type) {
  for (Descriptor *choice : config.all<Descriptor *>(CONFIG_KNOBS))
    if (choice->code(KNOB_TYPE_OF) == type)
      return choice->number(KNOB_VALUE);
  throw Failure{BAD_PARAM, "a knob is not set"};
}

inline void check_config(const Descriptor &config) {
  size_t count = config.all<Descriptor *>(CONFIG_KNOBS).size();
  if (config.part(CONFIG_ENGINE).number(ENGINE_INDEX) != TENSOR_CORES)
    return need(count == 0, "an engine without knobs", OUT_OF_BOUND);
  int64_t turned = knob(config, TURNED);
  need(count == 2 && (turned == 0 || turned == 1) && knob(config, STAGES) == 3, "knobs have no such settings", OUT_OF_BOUND);
}

inline void check_engine(const Descriptor &engine) {
  int64_t index = engine.number(ENGINE_INDEX);
  need(index >= 0 && index < ENGINES, "no engine has this number", OUT_OF_BOUND);
}

} // namespace dnn
