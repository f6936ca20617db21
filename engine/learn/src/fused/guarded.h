// The border to Rust. Each C function returns a new tensor, which the caller owns; or null, and a text in `error` that the
// caller gives back to `fused_free`.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdlib>
#include <cstring>

namespace fused {

inline char* copied(const char* text) {
    char* copy = static_cast<char*>(std::malloc(std::strlen(text) + 1));
    return copy ? std::strcpy(copy, text) : nullptr;
}

// What `compute` makes, or nothing and the text of what went wrong: no exception leaves this file.
template <class Compute>
at::Tensor* guarded(char** error, Compute compute) {
    try {
        return new at::Tensor(compute());
    } catch (const c10::Error& thrown) {
        *error = copied(thrown.what_without_backtrace());
    } catch (const std::exception& thrown) {
        *error = copied(thrown.what());
    } catch (...) {
        *error = copied("an exception of an unknown kind");
    }
    return nullptr;
}

}  // namespace fused
