//! How much autograd keeps for backward passes, counted: for programs that measure.

use tch::Tensor;

use super::boundary::Saving;

/// Does `act`, and tells the bytes of all storages that autograd kept for a backward pass meanwhile, by this thread; each
/// storage once, and without those of the tensors `without`, such as the model's own. libtorch's engine of autograd is
/// replaced by one that counts, for as long as the process lives.
pub fn saved_bytes<T>(without: &[&Tensor], act: impl FnOnce() -> T) -> (T, u64) {
    let saving = Saving::begin(without);
    let done = act();
    (done, saving.end())
}
