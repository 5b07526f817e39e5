// SPDX-License-Identifier: Apache-2.0
// The Python face of the core. Every call on arrays releases the GIL while it works.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "bind/arrays.h"
#include "bind/bindings.h"
#include "bind/borders.h"
#include "bind/levels.h"
#include "bind/type_text.h"
#include "blend/blend.h"
#include "fill/fill.h"
#include "gather/gather.h"
#include "noise/noise.h"
#include "noise/philox.h"

namespace stf::bind {

namespace {

Strip strip_shape(const py::array& strip, Index first_row, Index grid_rows) {
    check_dims(strip, 3, "strip");
    STF_CHECK(first_row >= 0 && first_row + strip.shape(1) <= grid_rows, "the strip's rows [", first_row, ", ",
              first_row + strip.shape(1), ") do not lie on a grid of ", grid_rows, " rows");
    return {strip.shape(0), strip.shape(1), strip.shape(2), first_row, grid_rows};
}

// Scale, offset and clip range, checked against the number of channels.
Normalisation normalisation(const Dense<float>& scale, const Dense<float>& offset, float low, float high,
                            Index channels) {
    check_size(scale, channels, "scale");
    check_size(offset, channels, "offset");
    STF_CHECK(low <= high, "low ", low, " is not below high ", high);
    return {data(scale), data(offset), low, high};
}

// Calls work(tile_rows, tile_columns, to) with the tile's numbers as a pointer to their type.
template <class Work>
void for_tile_type(py::array& tile, Index channels, const Work& work) {
    check_dims(tile, 3, "tile");
    const std::string type = py::str(tile.dtype().attr("str"));
    if ((tile.flags() & py::array::c_style) == 0) throw py::type_error("tile is not C-contiguous");
    check_dense(tile, "tile", true);
    STF_CHECK(tile.shape(0) == channels, "tile has ", tile.shape(0), " channels; the strip has ", channels);
#define STF_TRY(T, E) \
    if (type == type_text<E>()) return work(tile.shape(1), tile.shape(2), static_cast<E*>(tile.mutable_data()));
    STF_FOR_EACH_TILE_TYPE(STF_TRY, )
#undef STF_TRY
    throw py::type_error("tile has dtype " + std::string(py::str(tile.dtype())) +
                         "; float32, float16, or bfloat16 of ml_dtypes is wanted");
}

template <class T>
void bind_gather(py::module_& m) {
    m.def(
        "gather",
        [](const Dense<T>& strip, Index first_row, Index grid_rows, const Dense<float>& scale,
           const Dense<float>& offset, float low, float high, const std::string& border, Index y, Index x,
           py::array& tile, Index unit) {
            const Strip shape = strip_shape(strip, first_row, grid_rows);
            const Normalisation values = normalisation(scale, offset, low, high, shape.channels);
            const Border mode = border_named(border);
            STF_CHECK(unit >= 1, "unit is ", unit, "; 1 or more is wanted");
            const T* in = data(strip);
            for_tile_type(tile, shape.channels, [&](Index rows, Index columns, auto* out) {
                py::gil_scoped_release release;
                gather(in, shape, values, mode, unit, y, x, rows, columns, out);
            });
        },
        py::arg("strip").noconvert(), py::arg("first_row"), py::arg("grid_rows"), py::arg("scale").noconvert(),
        py::arg("offset").noconvert(), py::arg("low"), py::arg("high"), py::arg("border"), py::arg("y"), py::arg("x"),
        py::arg("tile").noconvert(), py::arg("unit") = 1);
    m.def(
        "gather_bilinear",
        [](const Dense<T>& strip, Index first_row, Index grid_rows, const Dense<float>& scale,
           const Dense<float>& offset, float low, float high, const Dense<std::int64_t>& rows,
           const Dense<float>& row_weight, const Dense<std::int64_t>& columns, const Dense<float>& column_weight,
           py::array& tile) {
            const Strip shape = strip_shape(strip, first_row, grid_rows);
            const Normalisation values = normalisation(scale, offset, low, high, shape.channels);
            const T* in = data(strip);
            for_tile_type(tile, shape.channels, [&](Index height, Index width, auto* out) {
                check_size(rows, height, "rows");
                check_size(row_weight, height, "row_weight");
                check_size(columns, width, "columns");
                check_size(column_weight, width, "column_weight");
                const Interpolation along_y{data(rows), data(row_weight), height};
                const Interpolation along_x{data(columns), data(column_weight), width};
                py::gil_scoped_release release;
                gather_bilinear(in, shape, values, along_y, along_x, out);
            });
        },
        py::arg("strip").noconvert(), py::arg("first_row"), py::arg("grid_rows"), py::arg("scale").noconvert(),
        py::arg("offset").noconvert(), py::arg("low"), py::arg("high"), py::arg("rows").noconvert(),
        py::arg("row_weight").noconvert(), py::arg("columns").noconvert(), py::arg("column_weight").noconvert(),
        py::arg("tile").noconvert());
}

template <class T>
void bind_fill(py::module_& m) {
    m.def(
        "fill_invalid",
        [](Dense<T>& strip, const Dense<std::uint8_t>& valid, const Dense<double>& fallback) {
            check_dims(strip, 3, "strip");
            check_dense(strip, "strip", true);
            check_dims(valid, 2, "valid");
            STF_CHECK(valid.shape(0) == strip.shape(1) && valid.shape(1) == strip.shape(2), "valid has shape ",
                      shape_text(valid), "; the strip has ", shape_text(strip));
            check_size(fallback, strip.shape(0), "fallback");
            T* pixels = strip.mutable_data();
            const Index channels = strip.shape(0), rows = strip.shape(1), columns = strip.shape(2);
            const std::uint8_t* mask = data(valid);
            const double* otherwise = data(fallback);
            py::gil_scoped_release release;
            fill_invalid<T>(pixels, mask, channels, rows, columns, otherwise);
        },
        py::arg("strip").noconvert(), py::arg("valid").noconvert(), py::arg("fallback").noconvert());
}

void bind_blend(py::module_& m) {
    m.def(
        "blend",
        [](const Dense<float>& tile, Index y, Index x, const Dense<float>& row_weight,
           const Dense<float>& column_weight, Dense<float>& sums, Index first_row) {
            check_dims(tile, 3, "tile");
            check_dims(sums, 3, "sums");
            check_dense(sums, "sums", true);
            STF_CHECK(tile.shape(0) == sums.shape(0), "tile has ", tile.shape(0), " channels; sums has ",
                      sums.shape(0));
            check_size(row_weight, tile.shape(1), "row_weight");
            check_size(column_weight, tile.shape(2), "column_weight");
            const Accumulator shape{sums.shape(0), sums.shape(1), sums.shape(2), first_row};
            const float *in = data(tile), *along_y = data(row_weight), *along_x = data(column_weight);
            const Index rows = tile.shape(1), columns = tile.shape(2);
            float* out = sums.mutable_data();
            py::gil_scoped_release release;
            blend(in, rows, columns, y, x, along_y, along_x, out, shape);
        },
        py::arg("tile").noconvert(), py::arg("y"), py::arg("x"), py::arg("row_weight").noconvert(),
        py::arg("column_weight").noconvert(), py::arg("sums").noconvert(), py::arg("first_row"));
}

template <class T>
void bind_finalise(py::module_& m) {
    m.def(
        "finalise",
        [](const Dense<float>& sums, const py::object& valid, const Dense<float>& scale, const Dense<float>& offset,
           float low, float high, T nodata, Dense<T>& stored) {
            check_dims(sums, 3, "sums");
            check_dense(stored, "stored", true);
            STF_CHECK(shape_text(sums) == shape_text(stored), "stored has shape ", shape_text(stored), "; sums has ",
                      shape_text(sums));
            check_size(scale, sums.shape(0), "scale");
            check_size(offset, sums.shape(0), "offset");
            STF_CHECK(!(low > high), "low ", low, " is above high ", high);
            const std::uint8_t* mask = nullptr;
            Dense<std::uint8_t> held;
            if (!valid.is_none()) {
                STF_CHECK((py::isinstance<Dense<std::uint8_t>>(valid)),
                          "valid must be a C-contiguous uint8 array, or None");
                held = valid.cast<Dense<std::uint8_t>>();
                check_dims(held, 2, "valid");
                STF_CHECK(held.shape(0) == sums.shape(1) && held.shape(1) == sums.shape(2), "valid has shape ",
                          shape_text(held), "; sums has ", shape_text(sums));
                mask = data(held);
            }
            const float *in = data(sums), *slope = data(scale), *shift = data(offset);
            T* out = stored.mutable_data();
            const Index channels = sums.shape(0), pixels = sums.shape(1) * sums.shape(2);
            py::gil_scoped_release release;
            return finalise<T>(in, mask, channels, pixels, slope, shift, low, high, nodata, out);
        },
        py::arg("sums").noconvert(), py::arg("valid"), py::arg("scale").noconvert(), py::arg("offset").noconvert(),
        py::arg("low"), py::arg("high"), py::arg("nodata"), py::arg("stored").noconvert());
}

void bind_noise(py::module_& m) {
    m.def(
        "philox4x32",
        [](const std::array<std::uint32_t, 4>& counter, const std::array<std::uint32_t, 2>& key) {
            const PhiloxCounter words =
                philox4x32({{counter[0], counter[1], counter[2], counter[3]}}, {{key[0], key[1]}});
            return std::array<std::uint32_t, 4>{words.word[0], words.word[1], words.word[2], words.word[3]};
        },
        py::arg("counter"), py::arg("key"));
    m.def(
        "normals",
        [](const Dense<std::uint32_t>& word_1, const Dense<std::uint32_t>& word_2, Dense<float>& out,
           const std::optional<std::string>& kernel) {
            check_dims(word_1, 1, "word_1");
            check_size(word_2, word_1.shape(0), "word_2");
            check_size(out, word_1.shape(0), "out");
            check_dense(out, "out", true);
            const std::uint32_t *first = data(word_1), *second = data(word_2);
            float* numbers = out.mutable_data();
            const Index count = out.shape(0);
            const Level level = checked_level(kernel);
            py::gil_scoped_release release;
            normals(first, second, count, numbers, level);
        },
        py::arg("word_1").noconvert(), py::arg("word_2").noconvert(), py::arg("out").noconvert(),
        py::arg("kernel") = py::none());
    m.def(
        "noise",
        [](std::uint64_t seed, std::uint32_t step, std::int64_t y, std::int64_t x, Dense<float>& tile,
           const std::optional<std::string>& kernel) {
            check_dims(tile, 3, "tile");
            check_dense(tile, "tile", true);
            float* out = tile.mutable_data();
            const Index channels = tile.shape(0), rows = tile.shape(1), columns = tile.shape(2);
            const Level level = checked_level(kernel);
            py::gil_scoped_release release;
            noise(seed, step, y, x, channels, rows, columns, out, level);
        },
        py::arg("seed"), py::arg("step"), py::arg("y"), py::arg("x"), py::arg("tile").noconvert(),
        py::arg("kernel") = py::none());
}

}  // namespace

}  // namespace stf::bind

PYBIND11_MODULE(_core, m) {
    m.doc() = "The compiled core of stf-infer; see _core.pyi.";
#define STF_BIND_INPUT(T)         \
    stf::bind::bind_gather<T>(m); \
    stf::bind::bind_fill<T>(m);
    STF_FOR_EACH_PIXEL_TYPE(STF_BIND_INPUT)
#undef STF_BIND_INPUT
    stf::bind::bind_blend(m);
#define STF_BIND_OUTPUT(T) stf::bind::bind_finalise<T>(m);
    STF_FOR_EACH_STORED_TYPE(STF_BIND_OUTPUT)
#undef STF_BIND_OUTPUT
    stf::bind::bind_noise(m);
    stf::bind::bind_metrics(m);
    stf::bind::bind_starfm(m);
}
