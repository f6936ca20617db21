//! A tensor of a file as a tensor of libtorch: copied part by part, so that beside the tensor itself little memory is
//! needed. Knows one file.

use tch::{Device, Kind, Tensor};
use tensor_files::{Dtype, Stored, TensorFile};

use crate::error::{Error, Result};

/// So many bytes are copied at once: a multiple of the size of every kind of number, and so few that the memory for them is
/// used again and again.
const PART: usize = 1 << 16;

/// After so many parts their pages are given back.
const PARTS: usize = 16;

/// The shape as libtorch counts.
pub(crate) fn shape(stored: &Stored) -> Option<Vec<i64>> {
    stored.shape.iter().map(|&size| i64::try_from(size).ok()).collect()
}

/// The tensor `name` of `file` on `device` as `kind`. Files may hold float32, float16 or bfloat16.
pub(crate) fn copied(file: &TensorFile, name: &str, device: Device, kind: Kind) -> Result<Tensor> {
    let parts = file.parts(name, PART)?;
    let (Some(stored), Some(shape)) = (file.tensors().get(name), file.tensors().get(name).and_then(shape)) else {
        return Err(Error::file(file.path(), format!("the tensor `{name}` is too large"), "check the file's source"));
    };
    let stored_as = match stored.dtype {
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 | Dtype::Other(_) => Kind::Float,
    };
    let _guard = tch::no_grad_guard();
    let tensor = Tensor::f_empty(&shape, (kind, device))?;
    // Seen in the order in which the numbers lie in the file.
    let as_stored = match parts.order() {
        None => tensor.f_view(-1)?,
        Some(order) => tensor.f_permute(order.iter().map(|&at| at as i64).collect::<Vec<_>>())?,
    };
    for (index, part) in parts.enumerate() {
        let part = part.map_err(|damage| file.about(name, damage))?;
        let mut target = as_stored.shallow_clone();
        for (dimension, (&at, &length)) in part.at.iter().zip(&part.shape).enumerate() {
            target = target.f_narrow(dimension as i64, at as i64, length as i64)?;
        }
        let lengths: Vec<i64> = part.shape.iter().map(|&length| length as i64).collect();
        target.f_copy_(&Tensor::f_from_data_size(&part.bytes, &lengths, stored_as)?)?;
        if index % PARTS == PARTS - 1 {
            file.forget();
        }
    }
    file.forget();
    Ok(tensor)
}
