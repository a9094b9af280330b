// Modules, functions and launches.
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "driver.hpp"
#include "launch.hpp"
#include "ptx.hpp"

using namespace standin;

namespace {

/// What a block may have without asking for more.
constexpr unsigned SHARED = 49152;
constexpr unsigned SHARED_LIMIT = 232448;
constexpr unsigned MAX_THREADS = 1024;

/// The latest PTX, as 84 for 8.4, that the driver loads: 8.4 came with CUDA 12.4.
int latest_ptx() {
  long long driver = environment("INFER_STANDIN_DRIVER", 12040);
  return (int)((driver / 1000 - 4) * 10 + driver % 1000 / 10);
}

/// Why the driver refuses the module; CUDA_SUCCESS if it does not.
CUresult refusal(const Ptx &ptx, std::string &log) {
  if (ptx.version == 0 || ptx.target == 0) {
    log = "ptxas fatal: the text has no .version or no .target";
    return CUDA_ERROR_INVALID_PTX;
  }
  if (ptx.version > latest_ptx()) {
    log = "ptxas fatal: unsupported .version " + std::to_string(ptx.version / 10) + "." + std::to_string(ptx.version % 10);
    return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  }
  if (ptx.target > capability()) {
    log = "ptxas fatal: the device is older than sm_" + std::to_string(ptx.target);
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  for (const PtxEntry &entry : ptx.entries) {
    if (entry.shared > SHARED) {
      log = "ptxas error: " + entry.name + " uses too much shared data";
      return CUDA_ERROR_INVALID_PTX;
    }
  }
  return CUDA_SUCCESS;
}

/// Writes the log where the options of the JIT compiler ask for it.
void write_log(const std::string &log, unsigned count, const int *options, void **values) {
  char *buffer = nullptr;
  size_t size = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
      buffer = (char *)values[i];
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
      size = (size_t)values[i] & 0xffffffffu;
  }
  if (buffer && size > 0)
    snprintf(buffer, size, "%s", log.c_str());
}

/// The kernel that was compiled for the host from the same source. One that is missing or has other parameters means that the
/// stand-in and the PTX are of different days.
const Kernel *compiled(const PtxEntry &entry) {
  const Kernel *kernel = find_kernel(entry.name);
  if (!kernel)
    die("kernel %s is in the PTX but not in the stand-in: run `cargo xtask standin`", entry.name.c_str());
  if (entry.params != std::vector<size_t>(kernel->sizes, kernel->sizes + kernel->count))
    die("kernel %s has other parameters in the PTX than in the stand-in: run `cargo xtask ptx standin`", entry.name.c_str());
  return kernel;
}

void load(CUctx_st &context, CUmodule *result, const void *image, unsigned count, int *options, void **values) {
  need_no_unsafe_capture();
  need(result && image && (count == 0 || (options && values)));
  Ptx ptx((const char *)image);
  std::string log;
  CUresult refused = refusal(ptx, log);
  write_log(log, count, options, values);
  need(refused == CUDA_SUCCESS, refused);
  auto module = std::make_shared<CUmod_st>();
  module->context = &context;
  for (const PtxEntry &entry : ptx.entries) {
    const Kernel *kernel = find_kernel(entry.name);
    CUfunc_st function = {module.get(), kernel ? compiled(entry) : nullptr, entry.shared, entry.max_threads, SHARED};
    module->functions[entry.name] = std::make_shared<CUfunc_st>(function);
  }
  *result = driver().modules.add(module);
}

void check_launch(const CUfunc_st &function, const Extent &grid, const Extent &block, unsigned shared) {
  need(volume(grid) > 0 && volume(block) > 0);
  need(grid[0] <= INT32_MAX && grid[1] <= 65535 && grid[2] <= 65535);
  need(block[0] <= MAX_THREADS && block[1] <= MAX_THREADS && block[2] <= 64);
  need(volume(block) <= function.max_threads);
  need((unsigned long long)shared + function.shared <= function.shared_limit);
}

/// Takes the values of the parameters, each at an address that suits every type.
void copy_parameters(Launch &launch, void **params) {
  constexpr size_t ALIGNMENT = alignof(std::max_align_t);
  for (size_t i = 0; i < launch.kernel->count; ++i) {
    size_t bytes = launch.kernel->sizes[i], start = (launch.values.size() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    launch.offsets.push_back(start);
    launch.values.resize(start + bytes);
    need(params[i]);
    memcpy(launch.values.data() + start, params[i], bytes);
  }
}

} // namespace

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  return in_context(__func__, [&](CUctx_st &context) { load(context, module, image, 0, nullptr, nullptr); });
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, int *options, void **values) {
  return in_context(__func__, [&](CUctx_st &context) { load(context, module, image, count, options, values); });
}

CUresult cuModuleUnload(CUmodule module) {
  return in_context(__func__, [&](CUctx_st &) {
    for (auto &[name, function] : driver().modules.find(module)->functions)
      driver().functions.remove_if([&](CUfunc_st &other) { return &other == function.get(); });
    driver().modules.remove(module);
  });
}

CUresult cuModuleGetFunction(CUfunction *result, CUmodule module, const char *name) {
  return in_context(__func__, [&](CUctx_st &) {
    need(result && name);
    auto &functions = driver().modules.find(module)->functions;
    auto found = functions.find(name);
    need(found != functions.end(), CUDA_ERROR_NOT_FOUND);
    if (!found->second->kernel)
      die("kernel %s is in the PTX but not in the stand-in: run `cargo xtask standin`", name);
    *result = driver().functions.add(found->second);
  });
}

CUresult cuFuncSetAttribute(CUfunction handle, int attribute, int value) {
  return in_context(__func__, [&](CUctx_st &) {
    CUfunc_st &function = *driver().functions.find(handle);
    if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
      return need(value >= -1 && value <= 100);
    need(attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
    need(value >= 0 && (unsigned)value + function.shared <= SHARED_LIMIT);
    function.shared_limit = std::max(SHARED, (unsigned)value + function.shared);
  });
}

CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction handle) {
  return in_context(__func__, [&](CUctx_st &) {
    need(value);
    const CUfunc_st &function = *driver().functions.find(handle);
    const std::map<int, int> values = {
        {CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, (int)function.max_threads},
        {CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, (int)function.shared},
        {CU_FUNC_ATTRIBUTE_NUM_REGS, 32},
        {CU_FUNC_ATTRIBUTE_PTX_VERSION, 75},
        {CU_FUNC_ATTRIBUTE_BINARY_VERSION, capability()},
        {CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)(function.shared_limit - function.shared)},
    };
    need(attribute >= 0 && attribute < 10);
    auto found = values.find(attribute);
    *value = found == values.end() ? 0 : found->second;
  });
}

CUresult cuLaunchKernel(CUfunction handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared, CUstream stream_handle, void **params, void **extra) {
  return in_context(__func__, [&](CUctx_st &context) {
    CUfunc_st &function = *driver().functions.find(handle);
    StreamPtr stream = find_stream(&context, stream_handle);
    need(stream->context == &context && function.module->context == &context, CUDA_ERROR_INVALID_HANDLE);
    Launch launch = {function.kernel, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, {}, {}};
    check_launch(function, launch.grid, launch.block, shared);
    need(!extra && (params || launch.kernel->count == 0));
    copy_parameters(launch, params);
    ++driver().launches;
    submit_work(stream, false, [launch = std::make_shared<const Launch>(std::move(launch))] {
      run(*launch);
      std::lock_guard lock(driver().mutex);
      ++driver().kernels;
    });
  });
}
