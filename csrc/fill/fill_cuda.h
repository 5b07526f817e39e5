// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "stf/types.h"

namespace stf::cuda {

// As fill.h says, on a device.
template <class T>
void fill_invalid(Stream stream, T* strip, const std::uint8_t* valid, Index channels, Index rows, Index columns,
                  const double* fallback);

}  // namespace stf::cuda
