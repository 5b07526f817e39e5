// SPDX-License-Identifier: Apache-2.0
#include "starfm/starfm.h"

#include "bind/arrays.h"
#include "bind/bindings.h"
#include "bind/starfm_rule.h"

namespace stf::bind {

namespace {

void check_image(const py::array& image, const py::array& like, const char* name, bool writes = false) {
    check_dims(image, 2, name);
    check_dense(image, name, writes);
    STF_CHECK(shape_text(image) == shape_text(like), name, " has shape ", shape_text(image), "; fine_t1 has ",
              shape_text(like));
}

}  // namespace

void bind_starfm(py::module_& m) {
    m.def(
        "starfm",
        [](const Dense<float>& fine_t1, const Dense<float>& coarse_t1, const Dense<float>& coarse_t2, Index radius,
           float similar, float fine_coarse, float coarse_coarse, float step, const std::string& weight,
           Dense<float>& out, Index threads) {
            check_image(fine_t1, fine_t1, "fine_t1");
            check_image(coarse_t1, fine_t1, "coarse_t1");
            check_image(coarse_t2, fine_t1, "coarse_t2");
            check_image(out, fine_t1, "out", true);
            const StarfmRule rule = checked_rule(radius, similar, fine_coarse, coarse_coarse, step, weight);
            STF_CHECK(threads >= 1, "threads is ", threads, "; 1 or more is wanted");
            const float *fine = data(fine_t1), *before = data(coarse_t1), *after = data(coarse_t2);
            const Index rows = fine_t1.shape(0), columns = fine_t1.shape(1);
            float* predicted = out.mutable_data();
            py::gil_scoped_release release;
            starfm(fine, before, after, rows, columns, rule, threads, predicted);
        },
        py::arg("fine_t1").noconvert(), py::arg("coarse_t1").noconvert(), py::arg("coarse_t2").noconvert(),
        py::arg("radius"), py::arg("similar"), py::arg("fine_coarse"), py::arg("coarse_coarse"), py::arg("step"),
        py::arg("weight"), py::arg("out").noconvert(), py::arg("threads") = 1);
}

}  // namespace stf::bind
