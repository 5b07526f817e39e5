// SPDX-License-Identifier: Apache-2.0
#include "device/device.h"
#include "stf/device.h"

namespace stf {

std::string device_problem() {
    int count = 0;
    const cudaError_t met = cudaGetDeviceCount(&count);
    if (met != cudaSuccess) return cudaGetErrorString(met);
    return count > 0 ? "" : "there is no CUDA device";
}

}  // namespace stf
