// Kernels that test what stands for the device; the last ones do what a kernel must not.
#include "prelude.cuh"

KERNEL test_index(unsigned *y, unsigned len) {
  for (unsigned i = thread_index(); i < len; i += thread_count())
    y[i] = i;
}

KERNEL test_add(unsigned *y, unsigned len, unsigned value) {
  for (unsigned i = thread_index(); i < len; i += thread_count())
    y[i] += value;
}

/// Where each thread is in a grid and a block of three dimensions; a structure by value behind a small parameter.
KERNEL test_places(unsigned char unused, Dims dims, unsigned *y) {
  unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  y[block * (blockDim.x * blockDim.y * blockDim.z) + thread] = block * dims.n[0] + thread * dims.n[7] + unused;
}

/// Reverses what each block has, twice.
KERNEL test_reverse(unsigned *y) {
  DYNAMIC_SHARED(bytes);
  unsigned *shared = (unsigned *)bytes;
  for (unsigned round = 0; round < 2; ++round) {
    shared[threadIdx.x] = y[thread_index()] + 1;
    __syncthreads();
    y[thread_index()] = shared[blockDim.x - 1 - threadIdx.x];
    __syncthreads();
  }
}

/// Threads that have nothing to do leave before the others meet.
KERNEL test_leave(unsigned *y, unsigned len) {
  __shared__ unsigned sums[THREADS];
  if (threadIdx.x >= len)
    return;
  sums[threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = sums[len - 1 - threadIdx.x];
}

/// 16 results of each thread.
KERNEL test_warp(unsigned *y) {
  unsigned all = 0xffffffffu, lane = threadIdx.x % WARP;
  y += threadIdx.x * 16;
  y[0] = __shfl_xor_sync(all, threadIdx.x, 5);
  y[1] = __shfl_up_sync(all, threadIdx.x, 3);
  y[2] = __shfl_down_sync(all, threadIdx.x, 3);
  y[3] = __shfl_sync(all, threadIdx.x, 7);
  y[4] = __shfl_sync(all, threadIdx.x, 9, 8);
  y[5] = __shfl_up_sync(all, threadIdx.x, 3, 8);
  y[6] = __shfl_down_sync(all, threadIdx.x, 3, 8);
  y[7] = __shfl_xor_sync(all, threadIdx.x, 12, 8);
  y[8] = __ballot_sync(all, lane % 3 == 0);
  y[9] = __any_sync(all, threadIdx.x == 40);
  y[10] = __all_sync(all, threadIdx.x != 40);
  y[11] = (unsigned)__shfl_xor_sync(all, (float)threadIdx.x, 1);
  y[12] = lane < 16 ? __ballot_sync(0xffffu, lane & 1) : __ballot_sync(0xffff0000u, lane & 2);
  y[13] = (unsigned)__syncthreads_count(threadIdx.x < 5);
  y[14] = (unsigned)__shfl_xor_sync(all, (unsigned long long)threadIdx.x << 40, 1) + 1;
  __syncwarp();
  y[15] = (unsigned)warp_fold<Sum>(1.0f);
}

/// Instructions on matrices, which only their own assembler has on the device, are made from this on the host.
KERNEL test_gather(unsigned *y) {
#ifndef __CUDACC_RTC__
  Dims mine = {{threadIdx.x, 0, 0, 0, 0, 0, 0, threadIdx.x + 5}}, all[WARP];
  standin::warp_gather(mine, all);
  for (unsigned lane = 0; lane < WARP; ++lane)
    y[threadIdx.x * WARP + lane] = all[lane].n[0] + all[lane].n[7];
#endif
}

KERNEL test_atomics(unsigned *y) {
  atomicAdd(&y[0], threadIdx.x);
  atomicMax(&y[1], thread_index());
  atomicMin(&y[2], thread_index() + 7);
  atomicOr(&y[3], 1u << threadIdx.x % 32);
  for (unsigned old = y[4], seen; (seen = atomicCAS(&y[4], old, old + 2)) != old; old = seen) {
  }
}

KERNEL bad_write(unsigned *y, unsigned at) { y[at] = 0; }

KERNEL bad_alignment(unsigned char *y, unsigned at) { *(unsigned *)(y + at) = 1; }

KERNEL bad_bounds(unsigned *y, unsigned at) {
  __shared__ unsigned few[8];
  few[(at + threadIdx.x) % 16] = 1;
  y[0] = few[0];
}

/// Half of a warp waits for the block, the other half for the warp.
KERNEL bad_barriers() {
  if (threadIdx.x % WARP < 16)
    __syncthreads();
  else
    __syncwarp();
}

KERNEL bad_meeting(unsigned *y) {
  if (threadIdx.x % 2)
    y[0] = __ballot_sync(0xffffffffu, 1);
  else
    y[1] = __shfl_xor_sync(0xffffffffu, 1u, 1);
}
