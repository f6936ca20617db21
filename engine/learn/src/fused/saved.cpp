// Counts the bytes that autograd keeps for backward passes, as `torch.autograd.graph.saved_tensors_hooks` lets a program
// in Python do: a hook is asked for each tensor that is kept. Knows no operation.

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace {

using at::Tensor;

// What a thread keeps, since it began to count.
struct Count {
    // How often each storage is kept. It counts once, however many tensors are views of it.
    std::unordered_map<const void*, std::int64_t> storages;
    std::int64_t bytes = 0;
    std::int64_t most = 0;

    // The tensors whose storages do not count.
    std::unordered_set<const void*> without;

    bool counts(const Tensor& tensor) const {
        return tensor.defined() && tensor.has_storage() && !without.count(tensor.storage().data());
    }

    void add(const Tensor& tensor) {
        if (!counts(tensor) || storages[tensor.storage().data()]++ > 0) return;
        bytes += static_cast<std::int64_t>(tensor.storage().nbytes());
        most = std::max(most, bytes);
    }

    void remove(const Tensor& tensor) {
        if (!counts(tensor) || --storages[tensor.storage().data()] > 0) return;
        bytes -= static_cast<std::int64_t>(tensor.storage().nbytes());
    }
};

thread_local std::shared_ptr<Count> count;

// Keeps a tensor as it is, and counts it as long.
struct Kept : torch::autograd::SavedVariableHooks {
    explicit Kept(std::shared_ptr<Count> count) : count(std::move(count)) {}
    ~Kept() override { count->remove(kept); }

    void call_pack_hook(const Tensor& tensor) override {
        kept = tensor;
        count->add(kept);
    }
    Tensor call_unpack_hook() override { return kept; }

    std::shared_ptr<Count> count;
    Tensor kept;
};

// libtorch asks its engine for hooks.
struct Counting : torch::autograd::Engine {
    std::unique_ptr<torch::autograd::SavedVariableHooks> get_default_saved_variable_hooks() override {
        return count ? std::make_unique<Kept>(count) : nullptr;
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
    auto fresh = std::make_shared<Count>();
    for (std::int64_t at = 0; at < length; ++at) fresh->without.insert(without[at]->storage().data());
    torch::autograd::set_default_engine_stub(counting);
    count = std::move(fresh);
}

// Ends it, and tells the most bytes that were kept at once.
std::int64_t fused_saved_end() {
    const std::int64_t bytes = count ? count->most : 0;
    count.reset();
    return bytes;
}

}  // extern "C"
