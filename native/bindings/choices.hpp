// Choices of tokens as Python has them.
#pragma once

#include "../engine/sampler.hpp"
#include "arrays.hpp"

namespace sterna {

// (tokens, log-probabilities, lists of (id, log-probability) of the most likely tokens), one entry for each choice.
inline nb::tuple in_columns(const std::vector<Choice>& choices) {
    auto tokens = make_result<std::int32_t>({choices.size()});
    auto logprobs = make_result<float>({choices.size()});
    nb::list top;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        tokens.data()[i] = choices[i].token;
        logprobs.data()[i] = choices[i].logprob;
        top.append(nb::cast(choices[i].top));
    }
    return nb::make_tuple(tokens, logprobs, top);
}

}  // namespace sterna
