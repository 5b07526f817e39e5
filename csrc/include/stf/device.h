// SPDX-License-Identifier: Apache-2.0
// What a kernel and its launch need. Included by *_cuda.cu only.
#pragma once

#include "stf/types.h"

#ifdef __CUDACC__

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace stf {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, Stream stream, Arguments... arguments) {
    kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(static_cast<Parameters>(arguments)...);
    const cudaError_t met = cudaGetLastError();
    if (met != cudaSuccess)
        throw std::runtime_error(std::string("a kernel was not started: ") + cudaGetErrorString(met));
}

}  // namespace stf

#else

#include "emulated_device.h"  // of the tests: blocks and threads on the host

#endif

namespace stf {

constexpr int warp_lanes = 32;
constexpr unsigned all_lanes = 0xFFFFFFFFU;

// A block of an image: a warp lies along a row, so that what it reads and writes is adjacent.
constexpr int block_columns = 32, block_rows = 8;

inline unsigned blocks_for(Index size, Index block) { return static_cast<unsigned>((size + block - 1) / block); }

inline dim3 image_block() { return dim3(block_columns, block_rows, 1); }

inline dim3 image_grid(Index channels, Index rows, Index columns) {
    return dim3(blocks_for(columns, block_columns), blocks_for(rows, block_rows), static_cast<unsigned>(channels));
}

struct Place {
    Index channel;
    Index row;
    Index column;
};

// The pixel of this thread.
__device__ inline Place place_here() {
    return {static_cast<Index>(blockIdx.z), static_cast<Index>(blockIdx.y) * block_rows + threadIdx.y,
            static_cast<Index>(blockIdx.x) * block_columns + threadIdx.x};
}

}  // namespace stf
