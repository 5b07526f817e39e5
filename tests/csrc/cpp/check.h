// SPDX-License-Identifier: Apache-2.0
// As much of a test framework as these tests need. A failed check says where and what, and the program ends with 1.
#pragma once

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace stf::test {

template <class T>
void show(std::ostream& out, const T& value) {
    out << +value;
}

template <class T>
void show(std::ostream& out, const std::vector<T>& values) {
    for (const T& value : values) out << +value << ' ';
}

template <class Met, class Wanted>
void expect(bool holds, const Met& met, const Wanted& wanted, const char* what, const char* file, int line) {
    if (holds) return;
    std::cerr.precision(17);
    std::cerr << file << ':' << line << ": " << what << " is ";
    show(std::cerr, met);
    std::cerr << "; wanted: ";
    show(std::cerr, wanted);
    std::cerr << '\n';
    std::exit(1);
}

}  // namespace stf::test

#define EXPECT_EQUAL(met, wanted) ::stf::test::expect((met) == (wanted), met, wanted, #met, __FILE__, __LINE__)
#define EXPECT_NEAR(met, wanted, within) \
    ::stf::test::expect(std::fabs((met) - (wanted)) <= (within), met, wanted, #met, __FILE__, __LINE__)
