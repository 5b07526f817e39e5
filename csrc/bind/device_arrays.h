// SPDX-License-Identifier: Apache-2.0
// Arrays on a device at the boundary: what `__cuda_array_interface__` or DLPack
// says, checked, and named in messages.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "bind/type_text.h"
#include "stf/check.h"
#include "stf/types.h"

namespace stf::bind {

namespace py = pybind11;

// The head of what a capsule "dltensor" points to: DLTensor of DLPack's
// dlpack.h, whose layout is fixed.
struct DlpackTensor {
    void* data;
    std::int32_t device_kind, device_number;
    std::int32_t dims;
    std::uint8_t kind, bits;  // of a number: 0 signed, 1 unsigned, 2 floating, 4 bfloat16
    std::uint16_t lanes;
    const std::int64_t* shape;
    const std::int64_t* strides;  // in numbers; null: C-contiguous
    std::uint64_t byte_offset;
};

constexpr int dlpack_cuda = 2;

class DeviceArray {
  public:
    DeviceArray(const py::object& owner, const char* name, bool writes = false) : name_(name) {
        if (py::hasattr(owner, "__cuda_array_interface__")) {
            read_interface(owner.attr("__cuda_array_interface__"), writes);
        } else if (py::hasattr(owner, "__dlpack__") && py::hasattr(owner, "__dlpack_device__")) {
            read_dlpack(owner);
        } else {
            fail(name, " is a ", std::string(py::str(py::type::of(owner).attr("__name__"))),
                 "; an array on a device is wanted, with __cuda_array_interface__ or "
                 "__dlpack__");
        }
        for (const Index side : shape_) STF_CHECK(side > 0, name, " has shape ", shape_text(), "; no side may be 0");
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
    void read_interface(const py::dict& said, bool writes) {
        shape_ = said["shape"].cast<std::vector<Index>>();
        type_ = said["typestr"].cast<std::string>();
        const auto [address, read_only] = said["data"].cast<std::pair<std::uintptr_t, bool>>();
        address_ = address;
        STF_CHECK(!writes || !read_only, name_, " is read-only");
        STF_CHECK(!said.contains("mask") || said["mask"].is_none(), name_, " has a mask");
        if (said.contains("strides") && !said["strides"].is_none())
            check_strides(said["strides"].cast<std::vector<Index>>());
    }

    // The capsule is read and left to its maker: the array itself lives on with
    // its owner.
    void read_dlpack(const py::object& owner) {
        const auto device = owner.attr("__dlpack_device__")().cast<std::pair<int, int>>();
        STF_CHECK(device.first == dlpack_cuda, name_, " lies on a device of DLPack's kind ", device.first, "; ",
                  dlpack_cuda, ", CUDA, is wanted");
        const py::capsule held = owner.attr("__dlpack__")();
        const auto& tensor = *static_cast<const DlpackTensor*>(held.get_pointer());
        constexpr std::string_view kinds = "iuf?V";
        const char kind = tensor.kind < kinds.size() ? kinds[tensor.kind] : '?';
        const char order = tensor.bits == 8 ? '|' : PY_LITTLE_ENDIAN ? '<' : '>';
        type_ = std::string{order, tensor.lanes == 1 ? kind : '?'} + std::to_string(tensor.bits / 8);
        shape_.assign(tensor.shape, tensor.shape + tensor.dims);
        address_ = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
        if (tensor.strides == nullptr) return;
        std::vector<Index> strides(tensor.strides, tensor.strides + tensor.dims);
        for (Index& stride : strides) stride *= tensor.bits / 8;
        check_strides(strides);
    }

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
