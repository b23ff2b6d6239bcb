// How a token is chosen, and choices from the logits of another engine.
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>

#include "choices.hpp"
#include "module.hpp"

namespace sterna {
namespace {

// The token chosen from each row of logits that another engine has computed, as `in_columns` has it.
nb::tuple chosen(FloatRows logits, const std::vector<Sampling>& samplings) {
    if (logits.shape(0) != samplings.size())
        throw std::invalid_argument("There must be one sampling for each row of logits.");
    if (logits.shape(1) == 0) throw std::invalid_argument("Rows of logits must not be empty.");
    std::vector<Choice> choices;
    {
        const nb::gil_scoped_release release;
        const std::size_t width = logits.shape(1);
        std::vector<float> row(width);
        for (std::size_t i = 0; i < samplings.size(); ++i) {
            std::copy_n(logits.data() + i * width, width, row.begin());
            choices.push_back(choose(row, samplings[i]));
        }
    }
    return in_columns(choices);
}

}  // namespace

void bind_sampling(nb::module_& m) {
    nb::class_<Sampling>(m, "Sampling")
        .def(nb::init<>())
        .def_rw("temperature", &Sampling::temperature)
        .def_rw("top_k", &Sampling::top_k)
        .def_rw("top_p", &Sampling::top_p)
        .def_rw("min_p", &Sampling::min_p)
        .def_rw("repetition_penalty", &Sampling::repetition_penalty)
        .def_rw("presence_penalty", &Sampling::presence_penalty)
        .def_rw("frequency_penalty", &Sampling::frequency_penalty)
        .def_rw("seed", &Sampling::seed)
        .def_rw("step", &Sampling::step)
        .def_rw("seen", &Sampling::seen)
        .def_rw("generated", &Sampling::generated)
        .def_rw("logit_bias", &Sampling::logit_bias)
        .def_rw("banned", &Sampling::banned)
        .def_rw("logprobs", &Sampling::logprobs)
        .def("set_mask", [](Sampling& self, Words mask) { self.mask.assign(mask.data(), mask.data() + mask.size()); });

    m.def("choose", &chosen, "logits"_a, "samplings"_a);
}

}  // namespace sterna
