// SPDX-License-Identifier: Apache-2.0
// Compiled once for each instruction set, with STF_TARGET as its name.
#include "gather/elements.h"
#include "gather/row.h"

namespace stf::STF_TARGET {

template <class T>
void normalise_row(const T* STF_RESTRICT raw, Index count, float scale, float offset, float low, float high,
                   float* STF_RESTRICT out) {
    for (Index j = 0; j < count; ++j) out[j] = normalised(static_cast<float>(raw[j]), scale, offset, low, high);
}

#define STF_INSTANTIATE(T) template void normalise_row<T>(const T*, Index, float, float, float, float, float*);
STF_FOR_EACH_PIXEL_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

}  // namespace stf::STF_TARGET
