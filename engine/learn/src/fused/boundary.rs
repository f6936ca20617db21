//! The C functions of `fused.cpp`, `buffers.cpp` and `saved.cpp` as safe functions. The one place of this module that is unsafe.
#![expect(unsafe_code, reason = "functions of C++ are called, and tensors handed over, by pointers alone")]

use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::{AdamWStep, DoraMap, Dropout, Ratio};
use crate::error::{Error, Result};

type Pointer = *const C_tensor;
type Made = *mut C_tensor;
type Failure = *mut *mut c_char;

unsafe extern "C" {
    fn fused_low_rank(
        y: Pointer,
        x: Pointer,
        a: Pointer,
        b: Pointer,
        scale: f64,
        probability: f64,
        seed: i64,
        error: Failure,
    ) -> Made;
    fn fused_dora(
        x: Pointer,
        a: Pointer,
        b: Pointer,
        magnitude: Pointer,
        weight: Pointer,
        c: Pointer,
        inverse: Pointer,
        bias: Pointer,
        thin: Pointer,
        scale: f64,
        error: Failure,
    ) -> Made;
    fn fused_dropped_dora(
        x: Pointer,
        a: Pointer,
        b: Pointer,
        magnitude: Pointer,
        weight: Pointer,
        c: Pointer,
        inverse: Pointer,
        bias: Pointer,
        scale: f64,
        probability: f64,
        seed: i64,
        error: Failure,
    ) -> Made;
    fn fused_dropped(x: Pointer, probability: f64, seed: i64, error: Failure) -> Made;
    fn fused_mixed(weight: Pointer, a: Pointer, error: Failure) -> Made;
    fn fused_norms(squares: Pointer, mixed: Pointer, a: Pointer, b: Pointer, scale: f64, error: Failure) -> Made;
    fn fused_ratio(magnitude: Pointer, norms: Pointer, thin: f64, is_thin: *mut bool, error: Failure) -> Made;
    fn fused_adamw(
        values: Pointer,
        gradients: Pointer,
        mean: Pointer,
        square: Pointer,
        steps: f64,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        error: Failure,
    ) -> Made;
    fn fused_share_version(tensor: Pointer, buffer: Pointer, error: Failure) -> Made;
    fn fused_free(text: *mut c_char);
    fn fused_saved_begin(without: *const Pointer, length: i64);
    fn fused_saved_end() -> i64;
}

/// The tensor that `call` makes, or the error whose text it leaves.
fn made(call: impl FnOnce(Failure) -> Made) -> Result<Tensor> {
    let mut text = null_mut();
    let tensor = call(&raw mut text);
    if !tensor.is_null() {
        // SAFETY: the functions above return a tensor of libtorch on the heap, which nothing else owns.
        return Ok(unsafe { Tensor::from_ptr(tensor) });
    }
    if text.is_null() {
        return Err(Error::Tensor(TchError::Torch("no memory is left for the text of an error".into())));
    }
    // SAFETY: where there is no tensor, `text` is a C string on the heap, which is given back once.
    let said = unsafe {
        let said = CStr::from_ptr(text).to_string_lossy().into_owned();
        fused_free(text);
        said
    };
    Err(Error::Tensor(TchError::Torch(said)))
}

fn pointer(tensor: Option<&Tensor>) -> Pointer {
    tensor.map_or(null(), Tensor::as_ptr)
}

pub(super) fn low_rank(
    [y, x, a, b]: [&Tensor; 4],
    scale: f64,
    Dropout { probability, seed }: Dropout,
) -> Result<Tensor> {
    let [y, x, a, b] = [y, x, a, b].map(Tensor::as_ptr);
    // SAFETY: the pointers are those of tensors that live while the function runs, and `error` is valid to write to.
    made(|error| unsafe { fused_low_rank(y, x, a, b, scale, probability, seed, error) })
}

pub(super) fn dora(x: &Tensor, map: &DoraMap<'_>, ratio: &Ratio) -> Result<Tensor> {
    let [a, b, magnitude, weight] = [map.a, map.b, map.magnitude, map.weight].map(Tensor::as_ptr);
    let (bias, thin) = (pointer(map.bias), pointer(ratio.thin.as_ref()));
    let (x, c, inverse) = (x.as_ptr(), ratio.c.as_ptr(), ratio.inverse.as_ptr());
    // SAFETY: as above; `bias` and `thin` may be null.
    made(|error| unsafe { fused_dora(x, a, b, magnitude, weight, c, inverse, bias, thin, map.scale, error) })
}

pub(super) fn dropped_dora(
    x: &Tensor,
    map: &DoraMap<'_>,
    ratio: &Ratio,
    Dropout { probability, seed }: Dropout,
) -> Result<Tensor> {
    let [a, b, magnitude, weight] = [map.a, map.b, map.magnitude, map.weight].map(Tensor::as_ptr);
    let (x, c, inverse, bias) = (x.as_ptr(), ratio.c.as_ptr(), ratio.inverse.as_ptr(), pointer(map.bias));
    let scale = map.scale;
    // SAFETY: as above; `bias` may be null.
    made(|error| unsafe {
        fused_dropped_dora(x, a, b, magnitude, weight, c, inverse, bias, scale, probability, seed, error)
    })
}

pub(super) fn mixed(weight: &Tensor, a: &Tensor) -> Result<Tensor> {
    let (weight, a) = (weight.as_ptr(), a.as_ptr());
    // SAFETY: as above.
    made(|error| unsafe { fused_mixed(weight, a, error) })
}

pub(super) fn norms([squares, mixed, a, b]: [&Tensor; 4], scale: f64) -> Result<Tensor> {
    let [squares, mixed, a, b] = [squares, mixed, a, b].map(Tensor::as_ptr);
    // SAFETY: as above.
    made(|error| unsafe { fused_norms(squares, mixed, a, b, scale, error) })
}

/// The ratio and the inverse of the norms, `[2, outputs]`, and whether some ratio is below `thin`.
pub(super) fn ratio(magnitude: &Tensor, norms: &Tensor, thin: f64) -> Result<(Tensor, bool)> {
    let (magnitude, norms, mut is_thin) = (magnitude.as_ptr(), norms.as_ptr(), false);
    // SAFETY: as above; `is_thin` is valid to write to.
    let ratio = made(|error| unsafe { fused_ratio(magnitude, norms, thin, &raw mut is_thin, error) })?;
    Ok((ratio, is_thin))
}

pub(super) fn dropped(x: &Tensor, Dropout { probability, seed }: Dropout) -> Result<Tensor> {
    let x = x.as_ptr();
    // SAFETY: as above.
    made(|error| unsafe { fused_dropped(x, probability, seed, error) })
}

pub(super) fn adamw(tensors: [&Tensor; 4], step: &AdamWStep) -> Result<()> {
    let [values, gradients, mean, square] = tensors.map(Tensor::as_ptr);
    let AdamWStep { steps, learning_rate, betas: [beta1, beta2], weight_decay, epsilon } = *step;
    let steps = steps as f64;
    // SAFETY: as above. What is returned is one more handle to `values`.
    let _handle = made(|error| unsafe {
        fused_adamw(values, gradients, mean, square, steps, learning_rate, beta1, beta2, weight_decay, epsilon, error)
    })?;
    Ok(())
}

pub(super) fn share_version(tensor: &Tensor, buffer: &Tensor) -> Result<()> {
    let (tensor, buffer) = (tensor.as_ptr(), buffer.as_ptr());
    // SAFETY: as above. What is returned is one more handle to `tensor`.
    let _handle = made(|error| unsafe { fused_share_version(tensor, buffer, error) })?;
    Ok(())
}

/// A count of what this thread keeps for backward passes.
pub(super) struct Saving(());

impl Saving {
    /// Begins; the storages of the tensors `without` do not count.
    pub(super) fn begin(without: &[&Tensor]) -> Self {
        let without: Vec<Pointer> = without.iter().map(|tensor| tensor.as_ptr()).collect();
        // SAFETY: `without` holds as many pointers as is told, of tensors that live while the function runs.
        unsafe { fused_saved_begin(without.as_ptr(), without.len() as i64) }
        Self(())
    }

    /// The most bytes that were kept at once.
    pub(super) fn end(self) -> u64 {
        // SAFETY: a function without arguments.
        unsafe { fused_saved_end() }.unsigned_abs()
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        // SAFETY: a function without arguments; where the count has ended it does nothing.
        let _ = unsafe { fused_saved_end() };
    }
}
