// SPDX-License-Identifier: Apache-2.0
// Sizes, and the one list of pixel types that the operations are compiled for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stf {

using Index = std::ptrdiff_t;

// A CUDA stream, as its owner's handle; null is the default stream.
using Stream = void*;

// Calls X once for each pixel type a raster may have.
#define STF_FOR_EACH_PIXEL_TYPE(X) \
    X(std::uint8_t)                \
    X(std::int8_t)                 \
    X(std::uint16_t)               \
    X(std::int16_t)                \
    X(std::uint32_t)               \
    X(std::int32_t)                \
    X(float)                       \
    X(double)

}  // namespace stf
