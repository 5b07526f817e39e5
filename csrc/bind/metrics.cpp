// SPDX-License-Identifier: Apache-2.0
// The Python face of the metrics.
#include "metrics/metrics.h"

#include <pybind11/stl.h>

#include <cmath>
#include <optional>
#include <tuple>

#include "bind/arrays.h"
#include "bind/bindings.h"
#include "bind/levels.h"
#include "bind/window_checks.h"

namespace stf::bind {

namespace {

PixelType pixel_type(const py::array& array, const char* name) {
    const py::dtype type = array.dtype();
    const char kind = type.kind();
    const auto size = type.itemsize();
    STF_CHECK(type.byteorder() != (PY_LITTLE_ENDIAN ? '>' : '<'), name, " has the bytes of its numbers swapped: dtype ",
              std::string(py::str(type)));
    if (kind == 'f' && size == 4) return PixelType::f32;
    if (kind == 'f' && size == 8) return PixelType::f64;
    if (kind == 'u' && size == 1) return PixelType::u8;
    if (kind == 'u' && size == 2) return PixelType::u16;
    if (kind == 'u' && size == 4) return PixelType::u32;
    if (kind == 'i' && size == 1) return PixelType::i8;
    if (kind == 'i' && size == 2) return PixelType::i16;
    if (kind == 'i' && size == 4) return PixelType::i32;
    fail(name, " has dtype ", std::string(py::str(type)), "; 8 to 32-bit integers, float32 or float64 are wanted");
}

Image image(const py::array& array, const std::vector<double>& scale, const std::vector<double>& offset,
            const char* name) {
    const PixelType type = pixel_type(array, name);
    STF_CHECK(array.strides(2) == array.itemsize() || array.shape(2) == 1, name, " has columns ", array.strides(2),
              " bytes apart; ", array.itemsize(), " are wanted");
    const auto bands = static_cast<std::size_t>(array.shape(0));
    STF_CHECK(scale.size() == bands && offset.size() == bands, name, " has ", bands, " bands, ", scale.size(),
              " scales and ", offset.size(), " offsets");
    return {static_cast<const char*>(array.data()), array.strides(0), array.strides(1), type, scale, offset};
}

template <class T>
T* writable(std::optional<Dense<T>>& array, std::vector<py::ssize_t> shape, const char* name) {
    if (!array) return nullptr;
    STF_CHECK(array->ndim() == static_cast<py::ssize_t>(shape.size()), name, " has shape ", shape_text(*array));
    for (std::size_t i = 0; i < shape.size(); ++i)
        STF_CHECK(array->shape(static_cast<py::ssize_t>(i)) == shape[i], name, " has shape ", shape_text(*array), "; ",
                  shape[i], " is wanted on axis ", i);
    check_dense(*array, name, true);
    return array->mutable_data();
}

// (kind, taps, uniform, c1, c2, rows, columns): windows begin in [rows[0], rows[1]) and [columns[0], columns[1]).
using IndexTuple = std::tuple<std::string, Dense<double>, bool, double, double, Range, Range>;

WindowedIndex windowed_index(const IndexTuple& wanted, Index height, Index width) {
    const auto& [kind, taps, uniform, c1, c2, rows, columns] = wanted;
    check_dims(taps, 1, "taps");
    WindowedIndex index = checked_index(kind, taps.shape(0), uniform, c1, c2, rows, columns, height, width);
    index.taps = data(taps);
    return index;
}

}  // namespace

void bind_metrics(py::module_& m) {
    m.def(
        "measure",
        [](const py::array& prediction, const py::array& truth, const std::optional<py::array>& mask,
           const std::vector<double>& scale_p, const std::vector<double>& offset_p, const std::vector<double>& scale_t,
           const std::vector<double>& offset_t, Index first_row, Index first_column, std::optional<Dense<double>> pairs,
           std::optional<Dense<double>> angle_total, std::optional<Dense<std::int64_t>> angle_counts,
           std::optional<Dense<std::int64_t>> counts, const std::optional<std::tuple<double, double, Index>>& bins,
           std::optional<Dense<std::int64_t>> errors, const std::vector<IndexTuple>& indices,
           std::optional<Dense<double>> window_totals, std::optional<Dense<std::int64_t>> window_counts,
           std::optional<Dense<float>> map, Index threads, const std::optional<std::string>& kernel) {
            Measurement work;
            check_dims(prediction, 3, "prediction");
            check_dims(truth, 3, "truth");
            STF_CHECK(shape_text(prediction) == shape_text(truth), "prediction has shape ", shape_text(prediction),
                      "; truth has ", shape_text(truth));
            work.prediction = image(prediction, scale_p, offset_p, "prediction");
            work.truth = image(truth, scale_t, offset_t, "truth");
            work.bands = prediction.shape(0);
            work.height = prediction.shape(1);
            work.width = prediction.shape(2);
            work.mask = nullptr;
            work.mask_row_bytes = 0;
            if (mask) {
                check_dims(*mask, 2, "mask");
                STF_CHECK(mask->shape(0) == work.height && mask->shape(1) == work.width, "mask has shape ",
                          shape_text(*mask), "; (", work.height, ", ", work.width, ") is wanted");
                const char kind = mask->dtype().kind();
                STF_CHECK(mask->itemsize() == 1 && (kind == 'b' || kind == 'u'), "mask has dtype ",
                          std::string(py::str(mask->dtype())), "; bool or uint8 is wanted");
                STF_CHECK(mask->strides(1) == 1 || mask->shape(1) == 1, "mask has columns ", mask->strides(1),
                          " bytes apart; 1 is wanted");
                work.mask = static_cast<const std::uint8_t*>(mask->data());
                work.mask_row_bytes = mask->strides(0);
            }
            STF_CHECK(first_row >= 0 && first_column >= 0, "first_row is ", first_row, " and first_column ",
                      first_column, "; 0 or more is wanted");
            work.first_row = first_row;
            work.first_column = first_column;
            ErrorBins limits{};
            work.bins = nullptr;
            if (bins) {
                limits = {std::get<0>(*bins), std::get<1>(*bins), std::get<2>(*bins)};
                STF_CHECK(std::isfinite(limits.low) && std::isfinite(limits.high) && limits.low < limits.high &&
                              limits.count >= 1 && limits.count < (Index{1} << 30),
                          "bins are ", limits.count, " from ", limits.low, " to ", limits.high);
                work.bins = &limits;
                STF_CHECK(errors.has_value(), "bins are given, and no array for their counts");
            }
            for (const IndexTuple& wanted : indices)
                work.indices.push_back(windowed_index(wanted, work.height, work.width));
            STF_CHECK(work.indices.size() <= 2, work.indices.size(), " indices are given; at most 2 are wanted");
            STF_CHECK(threads >= 1, "threads is ", threads, "; 1 or more is wanted");
            work.threads = threads;
            work.kernel = &metrics_kernel(checked_level(kernel));

            const auto count = static_cast<py::ssize_t>(work.indices.size());
            MeasuredSums sums{};
            sums.pairs = reinterpret_cast<PairSums*>(writable(pairs, {work.bands, pair_sums_fields}, "pairs"));
            STF_CHECK(angle_total.has_value() == angle_counts.has_value(), "angle_total goes with angle_counts");
            double* total = writable(angle_total, {1}, "angle_total");
            std::int64_t* angle_pixels = writable(angle_counts, {2}, "angle_counts");
            AngleSums angles;
            work.angles = total != nullptr;
            sums.angles = &angles;
            sums.counts = writable(counts, {3}, "counts");
            if (bins) sums.errors = writable(errors, {work.bands, limits.count + 2}, "errors");
            sums.window_totals = writable(window_totals, {count, work.bands}, "window_totals");
            sums.window_counts = writable(window_counts, {count}, "window_counts");
            STF_CHECK(count == 0 || (sums.window_totals != nullptr && sums.window_counts != nullptr),
                      "indices are given, and no arrays for their sums");
            work.map_rows = work.map_columns = 0;
            if (map) {
                STF_CHECK(count == 1, "a map is of one index; ", count, " are given");
                work.map_rows = work.indices[0].last_row - work.indices[0].first_row;
                work.map_columns = work.indices[0].last_column - work.indices[0].first_column;
                sums.map = writable(map, {work.bands, work.map_rows, work.map_columns}, "map");
            }
            {
                py::gil_scoped_release release;
                measure(work, sums);
            }
            if (total != nullptr) {
                *total += angles.total;
                angle_pixels[0] += angles.pixels;
                angle_pixels[1] += angles.zero_vectors;
            }
        },
        py::arg("prediction"), py::arg("truth"), py::arg("mask") = py::none(), py::kw_only(), py::arg("scale_p"),
        py::arg("offset_p"), py::arg("scale_t"), py::arg("offset_t"), py::arg("first_row") = 0,
        py::arg("first_column") = 0, py::arg("pairs").noconvert() = py::none(),
        py::arg("angle_total").noconvert() = py::none(), py::arg("angle_counts").noconvert() = py::none(),
        py::arg("counts").noconvert() = py::none(), py::arg("bins") = py::none(),
        py::arg("errors").noconvert() = py::none(), py::arg("indices") = std::vector<IndexTuple>{},
        py::arg("window_totals").noconvert() = py::none(), py::arg("window_counts").noconvert() = py::none(),
        py::arg("map").noconvert() = py::none(), py::arg("threads") = 1, py::arg("kernel") = py::none());
    m.def(
        "merge_pairs",
        [](Dense<double>& into, const Dense<double>& other) {
            check_dims(into, 2, "into");
            check_dense(into, "into", true);
            STF_CHECK(into.shape(1) == pair_sums_fields && shape_text(into) == shape_text(other), "into has shape ",
                      shape_text(into), "; other has ", shape_text(other));
            merge_pairs(reinterpret_cast<PairSums*>(into.mutable_data()),
                        reinterpret_cast<const PairSums*>(data(other)), into.shape(0));
        },
        py::arg("into").noconvert(), py::arg("other").noconvert());
    m.def("metrics_kernels", [] {
        std::vector<std::string> names;
        for (const Level level : machine_levels()) names.emplace_back(name_of(level));
        return names;
    });
    m.def(
        "read_words",
        [](const Dense<std::uint64_t>& words, Index threads) {
            STF_CHECK(threads >= 1, "threads is ", threads, "; 1 or more is wanted");
            const std::uint64_t* from = data(words);
            const Index count = words.size();
            py::gil_scoped_release release;
            return read_words(from, count, threads);
        },
        py::arg("words").noconvert(), py::arg("threads"));
}

}  // namespace stf::bind
