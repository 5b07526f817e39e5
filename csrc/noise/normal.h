// SPDX-License-Identifier: Apache-2.0
// Standard normal numbers from random words, by the method of Box and Muller.
//
// Logarithm and cosine are series of plain additions and multiplications, in one fixed order: the same words give the
// same bits on every machine, in a vector's lane or alone, which no library's log and cos promise. That holds as long
// as the compiler does not contract a product and a sum into one operation (-ffp-contract=off, nvcc: -fmad=false).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "stf/target.h"

namespace stf {

namespace detail {

STF_HD double as_double(std::uint64_t bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

STF_HD std::uint64_t as_bits(double value) {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

constexpr double two_to_52 = 4503599627370496.0;
constexpr std::uint64_t bits_of_two_to_52 = 0x4330000000000000U;

// An integer below 2^52, exactly. Written so because vector units lack the conversion from 64-bit integers.
STF_HD double as_double_exact(std::uint64_t integer) { return as_double(integer | bits_of_two_to_52) - two_to_52; }

}  // namespace detail

// ln(u) for a normal u > 0, to about 2^-52 of its value.
//
// u = 2^k m with m in [sqrt(1/2), sqrt(2)), and ln(m) = 2 artanh(t) = 2 (t + t^3/3 + t^5/5 + ...) with
// t = (m - 1) / (m + 1), |t| < 0.172. The first term left out is below 2^-55 of the sum.
STF_HD double natural_log(double u) {
    constexpr double ln_2 = 0.69314718055994530942;
    constexpr std::uint64_t bits_of_1 = 0x3FF0000000000000U, bits_of_sqrt_half = 0x3FE6A09E667F3BCDU;
    constexpr std::uint64_t mantissa = 0x000FFFFFFFFFFFFFU;
    // The exponent moves on at sqrt(1/2) instead of at 1.
    const std::uint64_t shifted = detail::as_bits(u) + (bits_of_1 - bits_of_sqrt_half);
    const double k = detail::as_double_exact(shifted >> 52) - 1023.0;
    const double m = detail::as_double((shifted & mantissa) + bits_of_sqrt_half);
    const double t = (m - 1.0) / (m + 1.0), s = t * t;
    double sum = 1.0 / 19.0;
    sum = sum * s + 1.0 / 17.0;
    sum = sum * s + 1.0 / 15.0;
    sum = sum * s + 1.0 / 13.0;
    sum = sum * s + 1.0 / 11.0;
    sum = sum * s + 1.0 / 9.0;
    sum = sum * s + 1.0 / 7.0;
    sum = sum * s + 1.0 / 5.0;
    sum = sum * s + 1.0 / 3.0;
    return k * ln_2 + 2.0 * (t + t * s * sum);
}

// sin(x) for |x| <= pi / 2, to about 2^-52 of its value: the Taylor series up to x^21 / 21!.
STF_HD double sine(double x) {
    const double s = x * x;
    double sum = 1.0 / 51090942171709440000.0;   // 21!
    sum = sum * s - 1.0 / 121645100408832000.0;  // 19!
    sum = sum * s + 1.0 / 355687428096000.0;     // 17!
    sum = sum * s - 1.0 / 1307674368000.0;       // 15!
    sum = sum * s + 1.0 / 6227020800.0;          // 13!
    sum = sum * s - 1.0 / 39916800.0;            // 11!
    sum = sum * s + 1.0 / 362880.0;              // 9!
    sum = sum * s - 1.0 / 5040.0;                // 7!
    sum = sum * s + 1.0 / 120.0;                 // 5!
    sum = sum * s - 1.0 / 6.0;                   // 3!
    return x + x * s * sum;
}

// sqrt(-2 ln u1) cos(2 pi u2) with u = (word + 1/2) / 2^32, which is neither 0 nor 1, in double, rounded to float.
//
// G. E. P. Box, M. E. Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29, 1958, eq. (1).
STF_HD float normal(std::uint32_t word_1, std::uint32_t word_2) {
    constexpr double two_to_minus_32 = 1.0 / 4294967296.0, two_pi = 6.28318530717958647693;
    const double u1 = (detail::as_double_exact(word_1) + 0.5) * two_to_minus_32;
    // cos(2 pi u) is even about u = 1/2 and equals sin(2 pi (1/4 - u)); the words are folded first, exactly.
    const std::uint32_t folded = word_2 ^ (0U - (word_2 >> 31));
    const double turn = (1073741823.5 - detail::as_double_exact(folded)) * two_to_minus_32;
    return static_cast<float>(std::sqrt(-2.0 * natural_log(u1)) * sine(two_pi * turn));
}

}  // namespace stf
