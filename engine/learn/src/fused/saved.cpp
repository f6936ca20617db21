// Counts the bytes that autograd keeps for backward passes, as `torch.autograd.graph.saved_tensors_hooks` lets a program
// in Python do: a hook is asked for each tensor that is kept. Knows no operation.

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include <cstdint>
#include <memory>
#include <unordered_set>

namespace {

using at::Tensor;

// What a thread has kept since it began to count.
struct Count {
    std::unordered_set<const void*> storages;
    std::int64_t bytes = 0;

    // A storage counts once, however many tensors are views of it.
    void add(const Tensor& tensor) {
        if (tensor.defined() && tensor.has_storage() && storages.insert(tensor.storage().data()).second)
            bytes += static_cast<std::int64_t>(tensor.storage().nbytes());
    }
};

thread_local std::unique_ptr<Count> count;

// Keeps a tensor as it is.
struct Kept : torch::autograd::SavedVariableHooks {
    void call_pack_hook(const Tensor& tensor) override {
        if (count) count->add(tensor);
        kept = tensor;
    }
    Tensor call_unpack_hook() override { return kept; }

    Tensor kept;
};

// libtorch asks its engine for hooks.
struct Counting : torch::autograd::Engine {
    std::unique_ptr<torch::autograd::SavedVariableHooks> get_default_saved_variable_hooks() override {
        return count ? std::make_unique<Kept>() : nullptr;
    }
};

// Never destroyed: its threads may outlive everything else.
torch::autograd::Engine& counting() {
    static auto* engine = new Counting();
    return *engine;
}

}  // namespace

extern "C" {

// Begins to count what this thread keeps; `length` tensors, whose storages do not count, are at `without`.
void fused_saved_begin(const Tensor* const* without, std::int64_t length) {
    auto fresh = std::make_unique<Count>();
    for (std::int64_t at = 0; at < length; ++at) fresh->add(*without[at]);
    fresh->bytes = 0;
    torch::autograd::set_default_engine_stub(counting);
    count = std::move(fresh);
}

// Ends it, and tells the bytes.
std::int64_t fused_saved_end() {
    const std::int64_t bytes = count ? count->bytes : 0;
    count.reset();
    return bytes;
}

}  // extern "C"
