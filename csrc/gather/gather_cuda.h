// SPDX-License-Identifier: Apache-2.0
// The operations of gather.h on a device. All pointers are to its memory, those in structures too.
#pragma once

#include "gather/gather.h"

namespace stf::cuda {

template <class T, class E>
void gather(Stream stream, const T* strip, const Strip& shape, const Normalisation& normalisation, Border border,
            Index unit, Index y, Index x, Index tile_rows, Index tile_columns, E* tile);

// Positions lie on the device, so the host cannot check them: a pixel whose rows the strip does not hold becomes NaN.
template <class T, class E>
void gather_bilinear(Stream stream, const T* strip, const Strip& shape, const Normalisation& normalisation,
                     const Interpolation& rows, const Interpolation& columns, E* tile);

}  // namespace stf::cuda
