// SPDX-License-Identifier: Apache-2.0
// Arrays on a device at the boundary: what `__cuda_array_interface__` says, checked, and named in messages.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "stf/check.h"
#include "stf/types.h"

namespace stf::bind {

namespace py = pybind11;

// As NumPy writes a type of native byte order: "<f4", "|u1".
template <class T>
std::string type_text() {
    const char kind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
    const char order = sizeof(T) == 1 ? '|' : PY_LITTLE_ENDIAN ? '<' : '>';
    return std::string{order, kind} + std::to_string(sizeof(T));
}

class DeviceArray {
  public:
    DeviceArray(const py::object& owner, const char* name, bool writes = false) : name_(name) {
        STF_CHECK(py::hasattr(owner, "__cuda_array_interface__"), name, " is a ",
                  std::string(py::str(py::type::of(owner).attr("__name__"))),
                  "; an array on a device is wanted, with __cuda_array_interface__");
        const py::dict said = owner.attr("__cuda_array_interface__");
        shape_ = said["shape"].cast<std::vector<Index>>();
        type_ = said["typestr"].cast<std::string>();
        const auto [address, read_only] = said["data"].cast<std::pair<std::uintptr_t, bool>>();
        address_ = address;
        STF_CHECK(!writes || !read_only, name, " is read-only");
        STF_CHECK(!said.contains("mask") || said["mask"].is_none(), name, " has a mask");
        for (const Index side : shape_) STF_CHECK(side > 0, name, " has shape ", shape_text(), "; no side may be 0");
        if (said.contains("strides") && !said["strides"].is_none())
            check_strides(said["strides"].cast<std::vector<Index>>());
    }

    Index dims() const { return static_cast<Index>(shape_.size()); }
    Index shape(Index axis) const { return shape_[static_cast<std::size_t>(axis)]; }
    const std::vector<Index>& sides() const { return shape_; }
    const std::string& type() const { return type_; }

    std::string shape_text() const {
        std::string text = "(";
        for (std::size_t i = 0; i < shape_.size(); ++i) text += (i ? ", " : "") + std::to_string(shape_[i]);
        return text + ")";
    }

    const DeviceArray& with_dims(Index wanted) const {
        STF_CHECK(dims() == wanted, name_, " has shape ", shape_text(), "; ", wanted, " dimensions are wanted");
        return *this;
    }

    const DeviceArray& with_size(Index size) const {
        STF_CHECK(dims() == 1 && shape(0) == size, name_, " has shape ", shape_text(), "; (", size, ",) is wanted");
        return *this;
    }

    template <class T>
    T* data() const {
        using Plain = std::remove_const_t<T>;
        STF_CHECK(type_ == type_text<Plain>(), name_, " has type ", type_, "; ", type_text<Plain>(), " is wanted");
        STF_CHECK(address_ != 0 && address_ % alignof(Plain) == 0, name_, " lies at address ", address_,
                  "; a multiple of ", alignof(Plain), " is wanted");
        return reinterpret_cast<T*>(address_);
    }

  private:
    void check_strides(const std::vector<Index>& strides) const {
        STF_CHECK(strides.size() == shape_.size(), name_, " has ", strides.size(), " strides and shape ", shape_text());
        Index wanted = std::stol(type_.substr(2));
        for (std::size_t i = shape_.size(); i-- > 0; wanted *= shape_[i])
            STF_CHECK(shape_[i] == 1 || strides[i] == wanted, name_, " is not C-contiguous: ", strides[i],
                      " bytes along axis ", i, "; ", wanted, " are wanted");
    }

    const char* name_;
    std::vector<Index> shape_;
    std::string type_;
    std::uintptr_t address_ = 0;
};

}  // namespace stf::bind
