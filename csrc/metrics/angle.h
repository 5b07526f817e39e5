// SPDX-License-Identifier: Apache-2.0
// The angle between two vectors from the parts of one of them along and beside the other.
#pragma once

#include "stf/simd.h"

namespace stf::STF_TARGET {

// c[0] + c[1] x + c[2] x^2 + ..., of an even number of terms. Even and odd ones apart: two short chains of dependent
// operations instead of a long one.
template <class V, int terms>
STF_HD V polynomial(const double (&coefficients)[terms], V x) {
    static_assert(terms % 2 == 0);
    V even = broadcast<V>(coefficients[terms - 2]), odd = broadcast<V>(coefficients[terms - 1]);
    const V square = x * x;
    STF_UNROLL
    for (int k = terms - 4; k >= 0; k -= 2) {
        even = multiply_add(even, square, broadcast<V>(coefficients[k]));
        odd = multiply_add(odd, square, broadcast<V>(coefficients[k + 1]));
    }
    return multiply_add(odd, x, even);
}

// atan(z) / z is a polynomial in z^2, minimax for the relative error, found by the exchange method of Remez.

constexpr double small_square = 0.125;  // of 19 degrees

// atan(sqrt(square)) for a square in [0, 1/8], to 2^-43 of its value: a difference of squares is no better.
template <class V>
STF_HD V small_angle(V square) {
    constexpr double coefficients[] = {0.9999999999999325234,   -0.33333333326362867134, 0.19999998816587061044,
                                       -0.1428563752287501799,  0.11108653855854480993,  -0.090478152112617655655,
                                       0.072660939844385888252, -0.043729140373016118636};
    return square_root(square) * polynomial(coefficients, square);
}

// Angle in radians between x and y = a x + r, where r is at right angles to x: from along = |a x|^2 and beside = |r|^2,
// which are not both zero, and the sign of a: atan2(|r|, a |x|). Beyond 1, atan(z) = pi / 2 - atan(1 / z). The series
// is good to 2^-54.
template <class V>
STF_HD V angle_of(V beside, V along, V sign) {
    constexpr double pi = 3.14159265358979323846;
    constexpr double coefficients[] = {
        0.99999999999999997292,   -0.33333333333331111325,   0.19999999999696315375,    -0.14285714269196316545,
        0.11111110634355228571,   -0.09090900647623367075,   0.076922076087519353384,   -0.066658258534897549973,
        0.058771423515379621131,  -0.052386340402284572866,  0.046722879597375416355,   -0.040890777234939573191,
        0.034008739061723644399,  -0.02575116501772444453,   0.016904059263733585883,   -0.0091303304719019064234,
        0.0038271500483178569095, -0.0011535851524343688887, 0.00022068742784579743661, -0.000020018629272034211805};
    const V square = lesser(beside, along) / greater(beside, along);
    const V small = square_root(square) * polynomial(coefficients, square);
    const V acute = along < beside ? 0.5 * pi - small : small;
    return sign < 0.0 ? pi - acute : acute;
}

}  // namespace stf::STF_TARGET
