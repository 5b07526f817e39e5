// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <type_traits>

#include "stf/float16.h"

namespace stf::bind {

// As NumPy writes a type of native byte order: "<f4", "|u1". It has no letter for bfloat16: ml_dtypes and torch write
// "<V2", two bytes of something that have an order. NumPy's own two bytes of something, "|V2", have none.
template <class T>
std::string type_text() {
    const char kind = std::is_same_v<T, BFloat16>                                 ? 'V'
                      : std::is_floating_point_v<T> || std::is_same_v<T, Float16> ? 'f'
                      : std::is_signed_v<T>                                       ? 'i'
                                                                                  : 'u';
    const char order = sizeof(T) == 1 ? '|' : PY_LITTLE_ENDIAN ? '<' : '>';
    return std::string{order, kind} + std::to_string(sizeof(T));
}

}  // namespace stf::bind
