// SPDX-License-Identifier: Apache-2.0
// NumPy arrays at the boundary: what is accepted, checked, and named in messages.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "stf/check.h"
#include "stf/types.h"

namespace stf::bind {

namespace py = pybind11;

template <class T>
using Dense = py::array_t<T, py::array::c_style>;  // not forcecast: another dtype or layout is refused

inline std::string shape_text(const py::array& array) {
    std::string text = "(";
    for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
    return text + ")";
}

inline void check_aligned(const py::array& array, const char* name) {
    STF_CHECK((array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0, name,
              " is not aligned: it lies at address ", reinterpret_cast<std::uintptr_t>(array.data()));
}

inline void check_dims(const py::array& array, py::ssize_t dims, const char* name) {
    STF_CHECK(array.ndim() == dims, name, " has shape ", shape_text(array), "; ", dims, " dimensions are wanted");
    for (py::ssize_t i = 0; i < dims; ++i)
        STF_CHECK(array.shape(i) > 0, name, " has shape ", shape_text(array), "; no side may be 0");
    check_aligned(array, name);
}

inline void check_size(const py::array& array, py::ssize_t size, const char* name) {
    STF_CHECK(array.ndim() == 1 && array.shape(0) == size, name, " has shape ", shape_text(array), "; (", size,
              ",) is wanted");
    check_aligned(array, name);
}

inline void check_dense(const py::array& array, const char* name, bool writes = false) {
    STF_CHECK((array.flags() & py::array::c_style) != 0, name, " is not C-contiguous");
    STF_CHECK(!writes || array.writeable(), name, " is read-only");
    check_aligned(array, name);
}

template <class T>
const T* data(const Dense<T>& array) {
    return static_cast<const T*>(array.data());
}

}  // namespace stf::bind
