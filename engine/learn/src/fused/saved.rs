//! How much autograd keeps for backward passes, counted: for programs that measure.

use tch::Tensor;

use super::boundary::Saving;

/// Does `act`, and tells the most bytes that autograd kept at once for backward passes meanwhile, in this thread: of each
/// storage once, and not of those of the tensors `without`, such as the model's own. libtorch's engine of autograd is
/// replaced by one that counts, for as long as the process lives.
pub fn saved_bytes<T>(without: &[&Tensor], act: impl FnOnce() -> T) -> (T, u64) {
    let saving = Saving::begin(without);
    let done = act();
    (done, saving.end())
}
