// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "stf/types.h"

namespace stf::cuda {

// As noise.h says, on a device, bit by bit.
void noise(Stream stream, std::uint64_t seed, std::uint32_t step, std::int64_t y, std::int64_t x, Index channels,
           Index rows, Index columns, float* tile);

}  // namespace stf::cuda
