// SPDX-License-Identifier: Apache-2.0
// One number of what all threads of a block hold. Included by *_cuda.cu only.
#pragma once

#include "stf/device.h"

namespace stf {

// `of` all values, combined in an order that is always the same; every thread gets it. The block has `threads` threads
// along x, which are whole warps, and all of them have to call this.
template <int threads, class T, class Of>
__device__ T reduced(T value, const Of& of) {
    static_assert(threads % warp_lanes == 0);
    __shared__ T of_warp[threads / warp_lanes];
    const int lane = static_cast<int>(threadIdx.x) % warp_lanes, warp = static_cast<int>(threadIdx.x) / warp_lanes;
    for (int step = warp_lanes / 2; step > 0; step /= 2) value = of(value, __shfl_down_sync(all_lanes, value, step));
    if (lane == 0) of_warp[warp] = value;
    __syncthreads();
    T total = of_warp[0];
    for (int k = 1; k < threads / warp_lanes; ++k) total = of(total, of_warp[k]);
    __syncthreads();  // all have read it: the next call may write it
    return total;
}

template <int threads, class T>
__device__ T sum_of_block(T value) {
    return reduced<threads>(value, [](T a, T b) { return a + b; });
}

template <int threads, class T>
__device__ T least_of_block(T value) {
    return reduced<threads>(value, [](T a, T b) { return a < b ? a : b; });
}

template <int threads, class T>
__device__ T greatest_of_block(T value) {
    return reduced<threads>(value, [](T a, T b) { return a > b ? a : b; });
}

}  // namespace stf
