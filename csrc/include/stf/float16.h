// SPDX-License-Identifier: Apache-2.0
// Floating-point numbers of 16 bits, made of float32. For host and device: the bits are the same on both.
#pragma once

#include <cstdint>
#include <cstring>

#include "stf/target.h"

namespace stf {

// IEEE 754 binary16: 5 bits of exponent, 10 of fraction; the largest is 65504, and 6.0e-8 the smallest above 0.
struct Float16 {
    std::uint16_t bits;
};

// The upper half of a float32: 8 bits of exponent, 7 of fraction.
struct BFloat16 {
    std::uint16_t bits;
};

// `value` as an E, rounded to nearest and half to even; beyond E's range it is infinite, and NaN stays NaN.
template <class E>
struct Rounded;

template <>
struct Rounded<float> {
    STF_HD static float of(float value) { return value; }
};

// No branches, and words that are as wide as a float: compilers turn loops into vectors on any machine.
STF_HD std::int32_t bits_of(float value) {
    std::int32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// The bits without the lower `dropped` of them; what is dropped rounds the rest half to even, by a carry.
template <int dropped, class Word>
STF_HD Word without_lower_bits(Word bits) {
    constexpr Word below_half = (Word{1} << (dropped - 1)) - 1;
    return (bits + below_half + ((bits >> dropped) & 1)) >> dropped;
}

template <>
struct Rounded<Float16> {
    STF_HD static Float16 of(float value) {
        constexpr std::int32_t infinite = 0x7F800000, two_to_16 = 0x47800000, smallest_normal = 0x38800000;
        constexpr std::int32_t exponents_apart = (127 - 15) << 23;
        const std::int32_t bits = bits_of(value), sign = (bits >> 16) & 0x8000, size = bits & 0x7FFFFFFF;
        // 2^16 is infinite as a float16, and so is what rounds up to it.
        const std::int32_t limited = size < two_to_16 ? size : two_to_16;
        const std::int32_t normal = without_lower_bits<13>(limited - exponents_apart);
        // The last bit of a float of [0.5, 1) counts as much as that of a subnormal float16: the sum rounds to it.
        float positive;
        std::memcpy(&positive, &limited, sizeof positive);
        const std::int32_t subnormal = bits_of(positive + 0.5F) - bits_of(0.5F);
        const std::int32_t nan = 0x7E00 | ((size >> 13) & 0x3FF);  // quiet; as processors do, upper bits are kept
        const std::int32_t number = size < smallest_normal ? subnormal : normal;
        return {static_cast<std::uint16_t>(sign | (size > infinite ? nan : number))};
    }
};

template <>
struct Rounded<BFloat16> {
    STF_HD static BFloat16 of(float value) {
        constexpr std::uint32_t nan = 0x7FC0, sign_and_nan = 0xFFC0;
        const auto bits = static_cast<std::uint32_t>(bits_of(value));
        const std::uint32_t number = without_lower_bits<16>(bits);  // of NaN it may be anything
        return {static_cast<std::uint16_t>(value == value ? number : ((bits >> 16) | nan) & sign_and_nan)};
    }
};

template <class E>
STF_HD E rounded(float value) {
    return Rounded<E>::of(value);
}

}  // namespace stf
