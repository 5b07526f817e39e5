// SPDX-License-Identifier: Apache-2.0
// The Python face of the metrics on a device.
#include <cmath>

#include "bind/cuda_bindings.h"
#include "bind/device_arrays.h"
#include "bind/window_checks.h"
#include "metrics/metrics_cuda.h"

namespace stf::bind {

namespace {

// Two images and a mask, and what an operation needs beside them.
struct Call {
    cuda::Measured images;
    double* scratch;
};

Call call_on(const py::object& prediction, const py::object& truth, const py::object& mask, const py::object& scratch) {
    const DeviceArray p(prediction, "prediction"), t(truth, "truth"), between(scratch, "scratch", true);
    p.with_dims(3);
    STF_CHECK(p.sides() == t.sides(), "truth has shape ", t.shape_text(), "; prediction has ", p.shape_text());
    const Index bands = p.shape(0), rows = p.shape(1), columns = p.shape(2);
    const Index wanted = cuda::metrics_scratch(bands, rows, columns);
    STF_CHECK(between.dims() == 1 && between.shape(0) >= wanted, "scratch has shape ", between.shape_text(), "; (",
              wanted, ",) or more is wanted");
    const std::uint8_t* kept = nullptr;
    if (!mask.is_none()) {
        const DeviceArray held(mask, "mask");
        STF_CHECK(held.dims() == 2 && held.shape(0) == rows && held.shape(1) == columns, "mask has shape ",
                  held.shape_text(), "; prediction has ", p.shape_text());
        kept = held.data<const std::uint8_t>();
    }
    return {{p.data<const float>(), t.data<const float>(), kept, bands, rows, columns}, between.data<double>()};
}

unsigned long long* counters(const DeviceArray& counts) {
    return reinterpret_cast<unsigned long long*>(counts.data<std::int64_t>());
}

const DeviceArray& with_sides(const DeviceArray& array, Index rows, Index columns, const char* name) {
    STF_CHECK(array.dims() == 2 && array.shape(0) == rows && array.shape(1) == columns, name, " has shape ",
              array.shape_text(), "; (", rows, ", ", columns, ") is wanted");
    return array;
}

void bind_pixels(py::module_& m) {
    m.def(
        "metrics_scratch",
        [](Index bands, Index rows, Index columns) {
            STF_CHECK(bands >= 1 && rows >= 1 && columns >= 1, "there are ", bands, " bands of ", rows, " x ", columns,
                      " pixels");
            return cuda::metrics_scratch(bands, rows, columns);
        },
        py::arg("bands"), py::arg("rows"), py::arg("columns"));
    m.def(
        "measure_pairs",
        [](const py::object& prediction, const py::object& truth, const py::object& mask, const py::object& pairs,
           const py::object& counts, const py::object& scratch, std::uintptr_t stream) {
            const Call call = call_on(prediction, truth, mask, scratch);
            const DeviceArray out(pairs, "pairs", true), counted(counts, "counts", true);
            auto* sums = reinterpret_cast<PairSums*>(
                with_sides(out, call.images.bands, pair_sums_fields, "pairs").data<double>());
            auto* numbers = counters(counted.with_size(3));
            cuda::measure_pairs(ready(stream), call.images, sums, numbers, call.scratch);
        },
        py::arg("prediction"), py::arg("truth"), py::arg("mask"), py::arg("pairs"), py::arg("counts"),
        py::arg("scratch"), py::arg("stream") = 0);
    m.def(
        "measure_angles",
        [](const py::object& prediction, const py::object& truth, const py::object& mask, const py::object& angle_total,
           const py::object& angle_counts, const py::object& scratch, std::uintptr_t stream) {
            const Call call = call_on(prediction, truth, mask, scratch);
            const DeviceArray total(angle_total, "angle_total", true), counted(angle_counts, "angle_counts", true);
            double* sum = total.with_size(1).data<double>();
            auto* numbers = counters(counted.with_size(2));
            cuda::measure_angles(ready(stream), call.images, sum, numbers, call.scratch);
        },
        py::arg("prediction"), py::arg("truth"), py::arg("mask"), py::arg("angle_total"), py::arg("angle_counts"),
        py::arg("scratch"), py::arg("stream") = 0);
    m.def(
        "measure_errors",
        [](const py::object& prediction, const py::object& truth, const py::object& mask,
           const std::tuple<double, double, Index>& bins, const py::object& errors, const py::object& scratch,
           std::uintptr_t stream) {
            const Call call = call_on(prediction, truth, mask, scratch);
            const auto [low, high, count] = bins;
            STF_CHECK(std::isfinite(low) && std::isfinite(high) && low < high && count >= 1 && count < (Index{1} << 30),
                      "bins are ", count, " from ", low, " to ", high);
            const DeviceArray out(errors, "errors", true);
            auto* numbers = counters(with_sides(out, call.images.bands, count + 2, "errors"));
            cuda::measure_errors(ready(stream), call.images, {low, high, count}, numbers, call.scratch);
        },
        py::arg("prediction"), py::arg("truth"), py::arg("mask"), py::arg("bins"), py::arg("errors"),
        py::arg("scratch"), py::arg("stream") = 0);
}

// (kind, taps, uniform, c1, c2, rows, columns), as `_core.measure` takes it.
using IndexTuple = std::tuple<std::string, std::vector<double>, bool, double, double, Range, Range>;

void bind_windows(py::module_& m) {
    m.def(
        "measure_windows",
        [](const py::object& prediction, const py::object& truth, const py::object& mask, const IndexTuple& wanted,
           const py::object& window_totals, const py::object& window_count, const py::object& scratch,
           std::uintptr_t stream) {
            const Call call = call_on(prediction, truth, mask, scratch);
            const auto& [kind, taps, uniform, c1, c2, rows, columns] = wanted;
            const auto size = static_cast<Index>(taps.size());
            STF_CHECK(size <= cuda::most_window, "taps has shape (", size, "); at most ", cuda::most_window,
                      " on a device");
            WindowedIndex index =
                checked_index(kind, size, uniform, c1, c2, rows, columns, call.images.rows, call.images.columns);
            index.taps = taps.data();
            const DeviceArray totals(window_totals, "window_totals", true), counted(window_count, "window_count", true);
            double* sums = totals.with_size(call.images.bands).data<double>();
            auto* number = counters(counted.with_size(1));
            cuda::measure_windows(ready(stream), call.images, index, sums, number, call.scratch);
        },
        py::arg("prediction"), py::arg("truth"), py::arg("mask"), py::arg("index"), py::arg("window_totals"),
        py::arg("window_count"), py::arg("scratch"), py::arg("stream") = 0);
}

}  // namespace

void bind_device_metrics(py::module_& m) {
    bind_pixels(m);
    bind_windows(m);
}

}  // namespace stf::bind
