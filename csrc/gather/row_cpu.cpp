// SPDX-License-Identifier: Apache-2.0
// Compiled once for each instruction set, with STF_TARGET as its name.
#include "gather/row.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

#include <type_traits>

#include "gather/elements.h"

namespace stf::STF_TARGET {

template <class T>
void normalise_row(const T* STF_RESTRICT raw, Index count, float scale, float offset, float low, float high,
                   float* STF_RESTRICT out) {
    for (Index j = 0; j < count; ++j) out[j] = normalised(static_cast<float>(raw[j]), scale, offset, low, high);
}

#define STF_INSTANTIATE(T) template void normalise_row<T>(const T*, Index, float, float, float, float, float*);
STF_FOR_EACH_PIXEL_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

template <class E>
void round_row(const float* STF_RESTRICT values, Index count, E* STF_RESTRICT out) {
    Index j = 0;
#ifdef __F16C__
    if constexpr (std::is_same_v<E, Float16>)
        for (; j + 8 <= count; j += 8) {
            const __m128i eight = _mm256_cvtps_ph(_mm256_loadu_ps(values + j), _MM_FROUND_TO_NEAREST_INT);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + j), eight);
        }
#endif
    for (; j < count; ++j) out[j] = rounded<E>(values[j]);
}

template void round_row<Float16>(const float*, Index, Float16*);
template void round_row<BFloat16>(const float*, Index, BFloat16*);

}  // namespace stf::STF_TARGET
