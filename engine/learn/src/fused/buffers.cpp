// What is done in place to the buffers of an optimiser. Knows no model and no method.

#include "guarded.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include <cstdint>

using at::Tensor;
using fused::guarded;

extern "C" {

// One step of AdamW in one pass over the numbers. Returns `values`.
Tensor* fused_adamw(const Tensor* values, const Tensor* gradients, const Tensor* mean, const Tensor* square, double steps,
                    double learning_rate, double beta1, double beta2, double weight_decay, double epsilon, char** error) {
    return guarded(error, [&] {
        at::NoGradGuard guard;
        // Where the numbers are: the kernel of a device must not wait for the host.
        const Tensor count = at::full({}, steps, values->options().dtype(at::kFloat));
        at::_fused_adamw_({*values}, {*gradients}, {*mean}, {*square}, {}, {count}, learning_rate, beta1, beta2, weight_decay,
                          epsilon, false, false);
        // The kernel does not count its changes.
        for (const Tensor* changed : {values, mean, square}) changed->unsafeGetTensorImpl()->bump_version();
        return *values;
    });
}

// From now on a change of `buffer` in place is seen in the version of `tensor`, which is a part of it. Returns `tensor`.
Tensor* fused_share_version(const Tensor* tensor, const Tensor* buffer, char** error) {
    return guarded(error, [&] {
        tensor->unsafeGetTensorImpl()->set_version_counter(buffer->unsafeGetTensorImpl()->version_counter());
        return *tensor;
    });
}

void fused_free(char* text) { std::free(text); }

}  // extern "C"
