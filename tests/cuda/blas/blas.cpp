// A stand-in for cuBLASLt beside that for the driver: the functions that the library calls, computed plainly on the host.
//
// It refuses what the documentation forbids: attributes that are unknown or of another size, matrices whose rows overlap or do not
// fit each other, addresses and workspaces that are not aligned. What it enqueues runs when the driver's stand-in comes to it.
#include <map>
#include <vector>

#include "cuda.hpp"
#include "floats.hpp"

namespace {

using floats::load, floats::store, floats::tf32;

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };

/// cudaDataType
enum Type { R_32F = 0, R_16F = 2, R_16BF = 14 };

/// cublasComputeType_t
enum Compute { COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77 };

/// cublasLtMatmulDescAttributes_t
enum { TRANSA = 3, TRANSB = 4, EPILOGUE = 7, BIAS_POINTER = 8, BIAS_BATCH_STRIDE = 10 };

/// cublasLtMatrixLayoutAttribute_t
enum { BATCH_COUNT = 5, STRIDED_BATCH_OFFSET = 6 };

/// cublasLtMatmulPreferenceAttributes_t
enum { MAX_WORKSPACE_BYTES = 1, REDUCTION_SCHEME_MASK = 3, ALIGNMENT_A = 5, ALIGNMENT_B, ALIGNMENT_C, ALIGNMENT_D };

/// cublasLtEpilogue_t, made of these bits
enum { DEFAULT = 1, RELU = 2, BIAS = 4, GELU = 32 };

/// cublasLtReductionScheme_t
enum { REDUCTION_NONE = 0, REDUCTION_INPLACE = 1, REDUCTION_COMPUTE_TYPE = 2 };

struct Failure {
  Status status;
};

void need(bool condition, Status status = INVALID_VALUE) {
  if (!condition)
    throw Failure{status};
}

template <class Body> int guarded(Body body) {
  try {
    body();
    return SUCCESS;
  } catch (Failure failure) {
    return failure.status;
  }
}

/// A descriptor: its attributes as numbers. Those that are there at first are those that it has.
struct Attributes {
  struct Attribute {
    size_t size;
    uint64_t value;
  };
  std::map<int, Attribute> values;

  void set(int which, const void *value, size_t size) {
    auto found = values.find(which);
    need(found != values.end() && value && found->second.size == size);
    found->second.value = 0;
    memcpy(&found->second.value, value, size);
  }
  uint64_t operator[](int which) const { return values.at(which).value; }
};

struct Operation : Attributes {
  Compute compute;
};

struct Layout : Attributes {
  Type type;
  uint64_t rows, cols;
  int64_t ld;

  int count() const { return (int)(*this)[BATCH_COUNT]; }
  int64_t stride() const { return (int64_t)(*this)[STRIDED_BATCH_OFFSET]; }
  floats::Kind kind() const { return type == R_32F ? floats::F32 : type == R_16F ? floats::F16 : floats::BF16; }
};

using Preference = Attributes;

struct Handle {};

/// What cublasLtMatmulAlgo_t holds here.
struct Algorithm {
  uint32_t config[9];
  uint32_t magic;
  uint64_t implementation;
  uint64_t reserved[2];
};
static_assert(sizeof(Algorithm) == 64);

constexpr uint32_t MAGIC = 0x616c676f;

struct Result {
  Algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

/// A call of cublasLtMatmul with all that it was given.
struct Call {
  Operation operation;
  Layout a, b, c, d;
  const void *at_a, *at_b, *at_c;
  void *at_d;
  float alpha, beta;

  float factor(const void *at, const Layout &layout, bool transposed, int64_t offset, int64_t row, int64_t col) const {
    float value = load(at, layout.kind(), offset + (transposed ? col + row * layout.ld : row + col * layout.ld));
    return operation.compute == COMPUTE_32F_FAST_TF32 && layout.type == R_32F ? tf32(value) : value;
  }

  float end(float value, int batch, int64_t row) const {
    uint64_t epilogue = operation[EPILOGUE];
    if (epilogue & BIAS)
      value += load((const void *)operation[BIAS_POINTER], d.kind(), batch * (int64_t)operation[BIAS_BATCH_STRIDE] + row);
    if (epilogue & RELU)
      return value < 0.0f ? 0.0f : value;
    if (epilogue & GELU)
      return 0.5f * value * (1.0f + tanhf(0.7978845608f * (value + 0.044715f * value * value * value)));
    return value;
  }

  void run() const {
    bool ta = operation[TRANSA], tb = operation[TRANSB];
    int64_t depth = ta ? a.rows : a.cols;
    for (int batch = 0; batch < d.count(); ++batch)
      for (int64_t col = 0; col < (int64_t)d.cols; ++col)
        for (int64_t row = 0; row < (int64_t)d.rows; ++row) {
          float sum = 0.0f;
          for (int64_t k = 0; k < depth; ++k)
            sum += factor(at_a, a, ta, batch * a.stride(), row, k) * factor(at_b, b, tb, batch * b.stride(), k, col);
          sum *= alpha;
          if (beta != 0.0f)
            sum += beta * load(at_c, c.kind(), batch * c.stride() + row + col * c.ld);
          store(at_d, d.kind(), batch * d.stride() + row + col * d.ld, end(sum, batch, row));
        }
  }
};

/// What holds of every product, whatever its addresses.
void check(const Operation &operation, const Layout &a, const Layout &b, const Layout &c, const Layout &d) {
  bool ta = operation[TRANSA], tb = operation[TRANSB];
  need((ta ? a.cols : a.rows) == d.rows && (tb ? b.rows : b.cols) == d.cols && (ta ? a.rows : a.cols) == (tb ? b.cols : b.rows));
  need(c.rows == d.rows && c.cols == d.cols && c.type == d.type);
  need(a.count() == d.count() && b.count() == d.count() && c.count() == d.count());
  need(a.type == b.type && (d.type == a.type || d.type == R_32F), NOT_SUPPORTED);
  need(operation.compute != COMPUTE_32F_FAST_TF32 || a.type == R_32F, NOT_SUPPORTED);
  uint64_t epilogue = operation[EPILOGUE];
  need(epilogue == DEFAULT || (epilogue & ~(uint64_t)(RELU | BIAS | GELU)) == 0);
  need((epilogue & RELU) == 0 || (epilogue & GELU) == 0);
  need((epilogue & BIAS) == 0 || operation[BIAS_POINTER] != 0);
}

/// Calls that were enqueued. They stay: captured work comes to them again and again.
void enqueue(Call *call, CUstream stream) {
  need(cuLaunchHostFunc(stream, [](void *call) { ((Call *)call)->run(); }, call) == CUDA_SUCCESS, EXECUTION_FAILED);
}

void need_aligned(const void *at, size_t alignment) { need(at && (uintptr_t)at % alignment == 0); }

} // namespace

CUDA_API int cublasLtCreate(Handle **handle) {
  return guarded([&] {
    CUcontext context = nullptr;
    need(handle);
    need(cuCtxGetCurrent(&context) == CUDA_SUCCESS && context, NOT_INITIALIZED);
    *handle = new Handle;
  });
}

CUDA_API int cublasLtDestroy(Handle *handle) {
  delete handle;
  return SUCCESS;
}

CUDA_API size_t cublasLtGetVersion() { return 120400; }

CUDA_API int cublasLtMatmulDescCreate(Operation **operation, int compute, int scale) {
  return guarded([&] {
    need(operation && (compute == COMPUTE_32F || compute == COMPUTE_32F_FAST_TF32) && scale == R_32F);
    *operation = new Operation{
        {{{TRANSA, {4, 0}}, {TRANSB, {4, 0}}, {EPILOGUE, {4, DEFAULT}}, {BIAS_POINTER, {8, 0}}, {BIAS_BATCH_STRIDE, {8, 0}}}},
        (Compute)compute};
  });
}

CUDA_API int cublasLtMatmulDescDestroy(Operation *operation) {
  delete operation;
  return SUCCESS;
}

CUDA_API int cublasLtMatmulDescSetAttribute(Operation *operation, int which, const void *value, size_t size) {
  return guarded([&] {
    need(operation);
    operation->set(which, value, size);
    need((*operation)[TRANSA] <= 1 && (*operation)[TRANSB] <= 1);
  });
}

CUDA_API int cublasLtMatrixLayoutCreate(Layout **layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  return guarded([&] {
    need(layout && (type == R_32F || type == R_16F || type == R_16BF));
    need(rows > 0 && cols > 0 && rows <= INT32_MAX && cols <= INT32_MAX && ld >= (int64_t)rows);
    *layout = new Layout{{{{BATCH_COUNT, {4, 1}}, {STRIDED_BATCH_OFFSET, {8, 0}}}}, (Type)type, rows, cols, ld};
  });
}

CUDA_API int cublasLtMatrixLayoutDestroy(Layout *layout) {
  delete layout;
  return SUCCESS;
}

CUDA_API int cublasLtMatrixLayoutSetAttribute(Layout *layout, int which, const void *value, size_t size) {
  return guarded([&] {
    need(layout);
    layout->set(which, value, size);
    need(layout->count() > 0);
  });
}

CUDA_API int cublasLtMatmulPreferenceCreate(Preference **preference) {
  return guarded([&] {
    need(preference);
    *preference = new Preference{{{MAX_WORKSPACE_BYTES, {8, 0}},
                                  {REDUCTION_SCHEME_MASK, {4, 7}},
                                  {ALIGNMENT_A, {4, 256}},
                                  {ALIGNMENT_B, {4, 256}},
                                  {ALIGNMENT_C, {4, 256}},
                                  {ALIGNMENT_D, {4, 256}}}};
  });
}

CUDA_API int cublasLtMatmulPreferenceDestroy(Preference *preference) {
  delete preference;
  return SUCCESS;
}

CUDA_API int cublasLtMatmulPreferenceSetAttribute(Preference *preference, int which, const void *value, size_t size) {
  return guarded([&] {
    need(preference);
    preference->set(which, value, size);
  });
}

/// Four algorithms: plain, by tensor cores, with the depth cut and added where the result lies, and with slices in the workspace.
CUDA_API int cublasLtMatmulAlgoGetHeuristic(Handle *handle, Operation *operation, Layout *a, Layout *b, Layout *c, Layout *d,
                                            Preference *preference, int asked, Result *results, int *count) {
  return guarded([&] {
    need(handle, NOT_INITIALIZED);
    need(operation && a && b && c && d && preference && asked > 0 && results && count);
    check(*operation, *a, *b, *c, *d);
    uint64_t input = a->type == R_32F ? 8 : a->type == R_16F ? 1 : 2;
    uint64_t tensor = operation->compute == COMPUTE_32F_FAST_TF32 ? 4 : input;
    uint64_t fma = 1 | 2 << 8 | input << 16, hmma = 2 | 2 << 8 | tensor << 16;
    size_t slices = 2 * d->rows * d->cols * d->count() * sizeof(float);
    const struct {
      uint32_t config[9];
      uint64_t implementation;
      size_t workspace;
    } all[] = {
        {{0, 5, 1, REDUCTION_NONE, 0, 0, 1, 0, 0}, fma, 0},
        {{6, 20, 1, REDUCTION_NONE, 1, 0, 12, 0, 0}, hmma, 0},
        {{6, 20, 2, REDUCTION_INPLACE, 0, 0, 12, 0, 0}, hmma, 1024},
        {{6, 18, 2, REDUCTION_COMPUTE_TYPE, 0, 0, 12, 0, 2}, hmma, slices},
    };
    *count = 0;
    for (auto &one : all) {
      if ((one.config[3] & ~(*preference)[REDUCTION_SCHEME_MASK]) || one.workspace > (*preference)[MAX_WORKSPACE_BYTES])
        continue;
      if (*count == asked)
        break;
      Result &result = results[(*count)++];
      result = Result{};
      memcpy(result.algorithm.config, one.config, sizeof one.config);
      result.algorithm.magic = MAGIC;
      result.algorithm.implementation = one.implementation;
      result.workspace = one.workspace;
    }
    need(*count > 0, NOT_SUPPORTED);
  });
}

CUDA_API int cublasLtMatmulAlgoConfigGetAttribute(const Algorithm *algorithm, int which, void *value, size_t size,
                                                  size_t *written) {
  return guarded([&] {
    need(algorithm && algorithm->magic == MAGIC && which >= 0 && which < 9 && value && size == (which < 7 ? 4 : 2));
    memcpy(value, &algorithm->config[which], size);
    if (written)
      *written = size;
  });
}

CUDA_API int cublasLtMatmulAlgoCapGetAttribute(const Algorithm *algorithm, int which, void *value, size_t size, size_t *written) {
  return guarded([&] {
    need(algorithm && algorithm->magic == MAGIC && which == 15 && value && size == 8);
    memcpy(value, &algorithm->implementation, size);
    if (written)
      *written = size;
  });
}

CUDA_API int cublasLtMatmul(Handle *handle, Operation *operation, const float *alpha, const void *at_a, Layout *a,
                            const void *at_b, Layout *b, const float *beta, const void *at_c, Layout *c, void *at_d, Layout *d,
                            const Algorithm *algorithm, void *workspace, size_t bytes, CUstream stream) {
  return guarded([&] {
    need(handle, NOT_INITIALIZED);
    need(operation && alpha && beta && a && b && c && d && algorithm && algorithm->magic == MAGIC);
    check(*operation, *a, *b, *c, *d);
    for (const void *at : {at_a, at_b, at_c, (const void *)at_d})
      need_aligned(at, 16);
    if (algorithm->config[2] > 1) {
      need(bytes >= 2 * d->rows * d->cols * d->count() * sizeof(float));
      need_aligned(workspace, 16);
      // All of it may be written.
      need(cuMemsetD8Async((CUdeviceptr)workspace, 0xff, bytes, stream) == CUDA_SUCCESS, EXECUTION_FAILED);
    }
    enqueue(new Call{*operation, *a, *b, *c, *d, at_a, at_b, at_c, at_d, *alpha, *beta}, stream);
  });
}
