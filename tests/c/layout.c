/* The sizes and offsets that programs are compiled with: they may never change. */
#include <infer.h>

#include <stddef.h>

#include "check.h"

#define AT(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #type "." #member)
#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)

SIZE(infer_status, 4);
SIZE(infer_dtype, 4);
SIZE(infer_device, 4);
SIZE(infer_open_mode, 4);
SIZE(infer_log_level, 4);
SIZE(infer_precision, 4);

SIZE(infer_error, 720);
AT(infer_error, struct_size, 0);
AT(infer_error, status, 4);
AT(infer_error, os_error, 8);
AT(infer_error, reserved, 12);
AT(infer_error, message, 16);
AT(infer_error, node, 528);
AT(infer_error, op, 656);

SIZE(infer_tensor, 184);
AT(infer_tensor, struct_size, 0);
AT(infer_tensor, dtype, 4);
AT(infer_tensor, rank, 8);
AT(infer_tensor, flags, 12);
AT(infer_tensor, device, 16);
AT(infer_tensor, device_id, 20);
AT(infer_tensor, data, 24);
AT(infer_tensor, byte_len, 32);
AT(infer_tensor, capacity, 40);
AT(infer_tensor, shape, 48);
AT(infer_tensor, strides, 112);
AT(infer_tensor, owner, 176);

SIZE(infer_tensor_info, 280);
AT(infer_tensor_info, struct_size, 0);
AT(infer_tensor_info, dtype, 4);
AT(infer_tensor_info, rank, 8);
AT(infer_tensor_info, reserved, 12);
AT(infer_tensor_info, name, 16);
AT(infer_tensor_info, shape, 24);
AT(infer_tensor_info, dim_names, 88);
AT(infer_tensor_info, dim_min, 152);
AT(infer_tensor_info, dim_max, 216);

SIZE(infer_run_options, 56);
AT(infer_run_options, struct_size, 0);
AT(infer_run_options, flags, 4);
AT(infer_run_options, timeout_ns, 8);
AT(infer_run_options, cancel, 16);
AT(infer_run_options, stream, 24);
AT(infer_run_options, event, 32);
AT(infer_run_options, done, 40);
AT(infer_run_options, user_data, 48);

SIZE(infer_device_info, 184);
AT(infer_device_info, struct_size, 0);
AT(infer_device_info, capability, 4);
AT(infer_device_info, units, 8);
AT(infer_device_info, reserved, 12);
AT(infer_device_info, memory, 16);
AT(infer_device_info, memory_used, 24);
AT(infer_device_info, memory_reserved, 32);
AT(infer_device_info, uuid, 40);
AT(infer_device_info, name, 56);

SIZE(infer_memory_info, 80);
AT(infer_memory_info, struct_size, 0);
AT(infer_memory_info, contexts, 4);
AT(infer_memory_info, weights, 8);
AT(infer_memory_info, rearranged, 16);
AT(infer_memory_info, arenas, 24);
AT(infer_memory_info, scratch, 32);
AT(infer_memory_info, copies, 40);
AT(infer_memory_info, plans, 48);
AT(infer_memory_info, device_weights, 56);
AT(infer_memory_info, device_arenas, 64);
AT(infer_memory_info, staging, 72);

int main(void) {
  const infer_error error = INFER_ERROR_INIT;
  const infer_tensor tensor = INFER_TENSOR_INIT;
  const infer_tensor_info info = INFER_TENSOR_INFO_INIT;
  const infer_run_options options = INFER_RUN_OPTIONS_INIT;
  CHECK(error.struct_size == sizeof error && error.status == INFER_OK && !error.message[0] && !error.op[63]);
  CHECK(tensor.struct_size == sizeof tensor && !tensor.data && !tensor.capacity && !tensor.strides[7] && !tensor.owner);
  CHECK(info.struct_size == sizeof info && !info.name && !info.dim_names[7] && !info.dim_max[7]);
  CHECK(options.struct_size == sizeof options && !options.timeout_ns && !options.cancel);
  CHECK(INFER_MAX_RANK == 8);
  CHECK(infer_version() == INFER_VERSION);
  CHECK(!strcmp(infer_status_name(INFER_ERROR_IO), "INFER_ERROR_IO") && !strcmp(infer_status_name(99), "unknown"));
  CHECK(!strcmp(infer_status_name(-1), "unknown") && !strcmp(infer_status_name(INFER_OK), "INFER_OK"));
  CHECK(!strcmp(infer_dtype_name(INFER_DTYPE_BOOL), "bool") && !strcmp(infer_dtype_name(0), "unknown"));
  CHECK(infer_dtype_size(INFER_DTYPE_F64) == 8 && infer_dtype_size(0) == 0 && infer_dtype_size(UINT32_MAX) == 0);
  return finish();
}
