// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "device/device.h"
#include "stf/types.h"

namespace stf::bind {

// The stream of a call. Arguments are checked before the machine is, so that a mistake is named on every machine.
inline Stream ready(std::uintptr_t stream) {
    const std::string problem = device_problem();
    if (!problem.empty())
        throw std::runtime_error("no CUDA device can be used: " + problem +
                                 "; the same operations for the CPU are in stf_infer._core");
    return reinterpret_cast<Stream>(stream);
}

void bind_device_metrics(pybind11::module_& m);
void bind_device_starfm(pybind11::module_& m);

}  // namespace stf::bind
