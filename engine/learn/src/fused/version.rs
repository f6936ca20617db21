//! Whether a tensor has changed: libtorch counts what is done to it in place.

use tch::Tensor;

use super::boundary;
use crate::error::Result;

/// The values that a tensor had at some time.
#[derive(Debug)]
pub struct Version {
    /// Holds the memory, so that no other tensor comes to lie there.
    memory: Tensor,
    number: i64,
}

impl Version {
    /// Those that `tensor` has now.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        Ok(Self { memory: tensor.f_detach()?, number: tensor.f_internal_version()? })
    }

    /// Whether `tensor` has them still.
    pub fn is_of(&self, tensor: &Tensor) -> Result<bool> {
        Ok(self.memory.data_ptr() == tensor.data_ptr() && self.number == tensor.f_internal_version()?)
    }
}

/// From now on what is done in place to `buffer`, or to a view of it, is counted for `tensor` too: its data are a part of
/// the buffer, which libtorch does not know of data that were set.
pub fn share_version(tensor: &Tensor, buffer: &Tensor) -> Result<()> {
    boundary::share_version(tensor, buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn a_change_in_place_is_seen_wherever_it_is_made() {
        let float = (Kind::Float, Device::Cpu);
        let (buffer, mut part) = (Tensor::zeros([6], float), Tensor::ones([2], float).set_requires_grad(true));
        let before = Version::of(&part).unwrap();
        assert!(before.is_of(&part).unwrap() && before.is_of(&part.shallow_clone()).unwrap());
        part.set_data(&buffer.narrow(0, 2, 2));
        assert!(!before.is_of(&part).unwrap(), "other memory");
        share_version(&part, &buffer).unwrap();
        let shared = Version::of(&part).unwrap();
        assert!(shared.is_of(&part).unwrap());
        let changes: [&dyn Fn(); 3] =
            [&|| drop(buffer.shallow_clone().fill_(1.0)), &|| drop(buffer.narrow(0, 0, 1).fill_(2.0)), &|| {
                part.shallow_clone().copy_(&Tensor::ones([2], float));
            }];
        let mut last = shared;
        for change in changes {
            tch::no_grad(change);
            assert!(!last.is_of(&part).unwrap());
            last = Version::of(&part).unwrap();
        }
    }
}
