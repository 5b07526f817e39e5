// SPDX-License-Identifier: Apache-2.0
// The Python face of the operations on a device. Work is queued on a stream and the call returns.
#include <pybind11/pybind11.h>

#include <cmath>
#include <limits>

#include "bind/borders.h"
#include "bind/cuda_bindings.h"
#include "bind/device_arrays.h"
#include "blend/blend_cuda.h"
#include "device/device.h"
#include "fill/fill_cuda.h"
#include "gather/gather_cuda.h"
#include "noise/noise_cuda.h"

#ifndef STF_CUDA_MODULE
#define STF_CUDA_MODULE _cuda
#endif

namespace stf::bind {

namespace {

Strip strip_shape(const DeviceArray& strip, Index first_row, Index grid_rows) {
    strip.with_dims(3);
    STF_CHECK(first_row >= 0 && first_row + strip.shape(1) <= grid_rows, "the strip's rows [", first_row, ", ",
              first_row + strip.shape(1), ") do not lie on a grid of ", grid_rows, " rows");
    return {strip.shape(0), strip.shape(1), strip.shape(2), first_row, grid_rows};
}

Normalisation normalisation(const py::object& scale, const py::object& offset, float low, float high, Index channels) {
    STF_CHECK(low <= high, "low ", low, " is not below high ", high);
    return {DeviceArray(scale, "scale").with_size(channels).data<const float>(),
            DeviceArray(offset, "offset").with_size(channels).data<const float>(), low, high};
}

// Calls `work` with a null pointer of the array's type.
template <class Work>
void for_pixel_type(const DeviceArray& array, const char* name, const Work& work) {
#define STF_TRY(T) \
    if (array.type() == type_text<T>()) return work(static_cast<T*>(nullptr));
    STF_FOR_EACH_PIXEL_TYPE(STF_TRY)
#undef STF_TRY
    fail(name, " has type ", array.type(), "; 8 to 32-bit integers, float32 or float64 are wanted");
}

// Calls `work` with the tile's numbers as a pointer to their type.
template <class Work>
void for_tile_type(const DeviceArray& tile, Index channels, const Work& work) {
    tile.with_dims(3);
    STF_CHECK(tile.shape(0) == channels, "tile has ", tile.shape(0), " channels; the strip has ", channels);
#define STF_TRY(T, E) \
    if (tile.type() == type_text<E>()) return work(tile.data<E>());
    STF_FOR_EACH_TILE_TYPE(STF_TRY, )
#undef STF_TRY
    fail("tile has type ", tile.type(), "; float32 (", type_text<float>(), "), float16 (", type_text<Float16>(),
         ") or bfloat16 (", type_text<BFloat16>(), ") is wanted");
}

template <class Work>
void for_stored_type(const DeviceArray& array, const char* name, const Work& work) {
#define STF_TRY(T) \
    if (array.type() == type_text<T>()) return work(static_cast<T*>(nullptr));
    STF_FOR_EACH_STORED_TYPE(STF_TRY)
#undef STF_TRY
    fail(name, " has type ", array.type(), "; uint8, uint16, int16 or float32 are wanted");
}

void bind_gather(py::module_& m) {
    m.def(
        "gather",
        [](const py::object& strip, Index first_row, Index grid_rows, const py::object& scale, const py::object& offset,
           float low, float high, const std::string& border, Index y, Index x, const py::object& tile, Index unit,
           std::uintptr_t stream) {
            const DeviceArray in(strip, "strip"), out(tile, "tile", true);
            const Strip shape = strip_shape(in, first_row, grid_rows);
            const Normalisation values = normalisation(scale, offset, low, high, shape.channels);
            const Border mode = border_named(border);
            STF_CHECK(unit >= 1, "unit is ", unit, "; 1 or more is wanted");
            for_tile_type(out, shape.channels, [&](auto* to) {
                for_pixel_type(in, "strip", [&](auto* type) {
                    using T = std::remove_pointer_t<decltype(type)>;
                    const T* from = in.data<const T>();
                    cuda::gather(ready(stream), from, shape, values, mode, unit, y, x, out.shape(1), out.shape(2), to);
                });
            });
        },
        py::arg("strip"), py::arg("first_row"), py::arg("grid_rows"), py::arg("scale"), py::arg("offset"),
        py::arg("low"), py::arg("high"), py::arg("border"), py::arg("y"), py::arg("x"), py::arg("tile"),
        py::arg("unit") = 1, py::arg("stream") = 0);
    m.def(
        "gather_bilinear",
        [](const py::object& strip, Index first_row, Index grid_rows, const py::object& scale, const py::object& offset,
           float low, float high, const py::object& rows, const py::object& row_weight, const py::object& columns,
           const py::object& column_weight, const py::object& tile, std::uintptr_t stream) {
            const DeviceArray in(strip, "strip"), out(tile, "tile", true);
            const Strip shape = strip_shape(in, first_row, grid_rows);
            const Normalisation values = normalisation(scale, offset, low, high, shape.channels);
            out.with_dims(3);
            const Index height = out.shape(1), width = out.shape(2);
            const Interpolation along_y{DeviceArray(rows, "rows").with_size(height).data<const std::int64_t>(),
                                        DeviceArray(row_weight, "row_weight").with_size(height).data<const float>(),
                                        height};
            const Interpolation along_x{
                DeviceArray(columns, "columns").with_size(width).data<const std::int64_t>(),
                DeviceArray(column_weight, "column_weight").with_size(width).data<const float>(), width};
            for_tile_type(out, shape.channels, [&](auto* to) {
                for_pixel_type(in, "strip", [&](auto* type) {
                    using T = std::remove_pointer_t<decltype(type)>;
                    const T* from = in.data<const T>();
                    cuda::gather_bilinear(ready(stream), from, shape, values, along_y, along_x, to);
                });
            });
        },
        py::arg("strip"), py::arg("first_row"), py::arg("grid_rows"), py::arg("scale"), py::arg("offset"),
        py::arg("low"), py::arg("high"), py::arg("rows"), py::arg("row_weight"), py::arg("columns"),
        py::arg("column_weight"), py::arg("tile"), py::arg("stream") = 0);
}

void bind_fill(py::module_& m) {
    m.def(
        "fill_invalid",
        [](const py::object& strip, const py::object& valid, const py::object& fallback, std::uintptr_t stream) {
            const DeviceArray pixels(strip, "strip", true), mask(valid, "valid");
            pixels.with_dims(3);
            STF_CHECK(mask.dims() == 2 && mask.shape(0) == pixels.shape(1) && mask.shape(1) == pixels.shape(2),
                      "valid has shape ", mask.shape_text(), "; the strip has ", pixels.shape_text());
            const std::uint8_t* at = mask.data<const std::uint8_t>();
            const double* otherwise = DeviceArray(fallback, "fallback").with_size(pixels.shape(0)).data<const double>();
            for_pixel_type(pixels, "strip", [&](auto* type) {
                using T = std::remove_pointer_t<decltype(type)>;
                T* to = pixels.data<T>();
                cuda::fill_invalid<T>(ready(stream), to, at, pixels.shape(0), pixels.shape(1), pixels.shape(2),
                                      otherwise);
            });
        },
        py::arg("strip"), py::arg("valid"), py::arg("fallback"), py::arg("stream") = 0);
}

void bind_blend(py::module_& m) {
    m.def(
        "blend",
        [](const py::object& tile, Index y, Index x, const py::object& row_weight, const py::object& column_weight,
           const py::object& sums, Index first_row, std::uintptr_t stream) {
            const DeviceArray in(tile, "tile"), out(sums, "sums", true);
            in.with_dims(3);
            out.with_dims(3);
            STF_CHECK(in.shape(0) == out.shape(0), "tile has ", in.shape(0), " channels; sums has ", out.shape(0));
            const DeviceArray along_y(row_weight, "row_weight"), along_x(column_weight, "column_weight");
            const float* weight_y = along_y.with_size(in.shape(1)).data<const float>();
            const float* weight_x = along_x.with_size(in.shape(2)).data<const float>();
            const float* from = in.data<const float>();
            float* to = out.data<float>();
            cuda::blend(ready(stream), from, in.shape(1), in.shape(2), y, x, weight_y, weight_x, to,
                        {out.shape(0), out.shape(1), out.shape(2), first_row});
        },
        py::arg("tile"), py::arg("y"), py::arg("x"), py::arg("row_weight"), py::arg("column_weight"), py::arg("sums"),
        py::arg("first_row"), py::arg("stream") = 0);
    m.def(
        "finalise",
        [](const py::object& sums, const py::object& valid, const py::object& scale, const py::object& offset,
           float low, float high, double nodata, const py::object& stored, const py::object& not_finite,
           std::uintptr_t stream) {
            const DeviceArray in(sums, "sums"), out(stored, "stored", true);
            in.with_dims(3);
            STF_CHECK(in.sides() == out.sides(), "stored has shape ", out.shape_text(), "; sums has ", in.shape_text());
            STF_CHECK(!(low > high), "low ", low, " is above high ", high);
            const DeviceArray slope(scale, "scale"), shift(offset, "offset"), lost(not_finite, "not_finite", true);
            const std::uint8_t* mask = nullptr;
            if (!valid.is_none()) {
                const DeviceArray held(valid, "valid");
                STF_CHECK(held.dims() == 2 && held.shape(0) == in.shape(1) && held.shape(1) == in.shape(2),
                          "valid has shape ", held.shape_text(), "; sums has ", in.shape_text());
                mask = held.data<const std::uint8_t>();
            }
            const float* factors = slope.with_size(in.shape(0)).data<const float>();
            const float* summands = shift.with_size(in.shape(0)).data<const float>();
            auto* counter = reinterpret_cast<unsigned long long*>(lost.with_size(1).data<std::uint64_t>());
            const float* from = in.data<const float>();
            for_stored_type(out, "stored", [&](auto* type) {
                using T = std::remove_pointer_t<decltype(type)>;
                STF_CHECK(std::is_floating_point_v<T> ||
                              (nodata >= std::numeric_limits<T>::lowest() && nodata <= std::numeric_limits<T>::max() &&
                               nodata == std::nearbyint(nodata)),
                          "nodata is ", nodata, "; a number that ", out.type(), " holds is wanted");
                const T marker = static_cast<T>(nodata);
                T* to = out.data<T>();
                cuda::finalise<T>(ready(stream), from, mask, in.shape(0), in.shape(1) * in.shape(2), factors, summands,
                                  low, high, marker, to, counter);
            });
        },
        py::arg("sums"), py::arg("valid"), py::arg("scale"), py::arg("offset"), py::arg("low"), py::arg("high"),
        py::arg("nodata"), py::arg("stored"), py::arg("not_finite"), py::arg("stream") = 0);
}

void bind_noise(py::module_& m) {
    m.def(
        "noise",
        [](std::uint64_t seed, std::uint32_t step, std::int64_t y, std::int64_t x, const py::object& tile,
           std::uintptr_t stream) {
            const DeviceArray out(tile, "tile", true);
            out.with_dims(3);
            float* to = out.data<float>();
            cuda::noise(ready(stream), seed, step, y, x, out.shape(0), out.shape(1), out.shape(2), to);
        },
        py::arg("seed"), py::arg("step"), py::arg("y"), py::arg("x"), py::arg("tile"), py::arg("stream") = 0);
}

}  // namespace

}  // namespace stf::bind

PYBIND11_MODULE(STF_CUDA_MODULE, m) {
    m.doc() = "The operations of the core on a CUDA device; see _cuda.pyi.";
    m.def("device_problem", &stf::device_problem);
    stf::bind::bind_gather(m);
    stf::bind::bind_fill(m);
    stf::bind::bind_blend(m);
    stf::bind::bind_noise(m);
    stf::bind::bind_device_metrics(m);
    stf::bind::bind_device_starfm(m);
}
