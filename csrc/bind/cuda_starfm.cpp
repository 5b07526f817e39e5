// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda_bindings.h"
#include "bind/device_arrays.h"
#include "bind/starfm_rule.h"
#include "starfm/starfm_cuda.h"

namespace stf::bind {

void bind_device_starfm(py::module_& m) {
    m.def(
        "starfm_scratch",
        [](Index rows, Index columns, Index radius) {
            STF_CHECK(rows >= 1 && columns >= 1, "there are ", rows, " x ", columns, " pixels");
            STF_CHECK(radius >= 0, "radius is ", radius, "; 0 or more is wanted");
            return cuda::starfm_scratch(rows, columns, radius);
        },
        py::arg("rows"), py::arg("columns"), py::arg("radius"));
    m.def(
        "starfm",
        [](const py::object& fine_t1, const py::object& coarse_t1, const py::object& coarse_t2, Index radius,
           float similar, float fine_coarse, float coarse_coarse, float step, const std::string& weight,
           const py::object& out, const py::object& scratch, std::uintptr_t stream) {
            const DeviceArray fine(fine_t1, "fine_t1"), predicted(out, "out", true), between(scratch, "scratch", true);
            const auto image = [&](const DeviceArray& array, const char* name) {
                array.with_dims(2);
                STF_CHECK(array.sides() == fine.sides(), name, " has shape ", array.shape_text(), "; fine_t1 has ",
                          fine.shape_text());
                return array.data<const float>();
            };
            const float *at = image(fine, "fine_t1"), *before = image({coarse_t1, "coarse_t1"}, "coarse_t1");
            const float* after = image({coarse_t2, "coarse_t2"}, "coarse_t2");
            image(predicted, "out");
            const StarfmRule rule = checked_rule(radius, similar, fine_coarse, coarse_coarse, step, weight);
            const Index rows = fine.shape(0), columns = fine.shape(1);
            const Index wanted = cuda::starfm_scratch(rows, columns, radius);
            STF_CHECK(between.dims() == 1 && between.shape(0) >= wanted, "scratch has shape ", between.shape_text(),
                      "; (", wanted, ",) or more is wanted");
            float *to = predicted.data<float>(), *floats = between.data<float>();
            cuda::starfm(ready(stream), at, before, after, rows, columns, rule, to, floats);
        },
        py::arg("fine_t1"), py::arg("coarse_t1"), py::arg("coarse_t2"), py::arg("radius"), py::arg("similar"),
        py::arg("fine_coarse"), py::arg("coarse_coarse"), py::arg("step"), py::arg("weight"), py::arg("out"),
        py::arg("scratch"), py::arg("stream") = 0);
}

}  // namespace stf::bind
