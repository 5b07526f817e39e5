// SPDX-License-Identifier: Apache-2.0
// The operations of blend.h on a device.
#pragma once

#include "blend/blend.h"

namespace stf::cuda {

void blend(Stream stream, const float* tile, Index tile_rows, Index tile_columns, Index y, Index x,
           const float* row_weight, const float* column_weight, float* sums, const Accumulator& shape);

// Adds to *not_finite, on the device, how many sums were not finite although their pixel is valid.
template <class T>
void finalise(Stream stream, const float* sums, const std::uint8_t* valid, Index channels, Index pixels,
              const float* scale, const float* offset, float low, float high, T nodata, T* stored,
              unsigned long long* not_finite);

}  // namespace stf::cuda
