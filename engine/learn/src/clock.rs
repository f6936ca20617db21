//! Where the time of a training step goes: into making batches, the forward pass, the backward pass, the optimiser. The code
//! of these parts says when it begins, `clock::enter`; whoever runs a step measures it. Knows no step and no file.
//!
//! A thread has one clock, as it has one span of a trace: so the parts need not be handed it through every call, and where
//! nothing is measured `enter` does nothing. On the CPU an operation is done when its call returns, and reading the time costs
//! some tens of nanoseconds: each step is measured. On CUDA a call only queues its work, so the device must be waited for where
//! a part ends, which empties the queue and costs some microseconds each time: one step in [`EVERY`] is measured, and stands
//! for the others.

use std::cell::Cell;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Cuda, Device};

/// On CUDA, one step of so many is measured.
pub const EVERY: u64 = 64;

/// A part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Rows are chosen, put together and copied to the device.
    Data,
    /// From token ids to the loss.
    Forward,
    /// From the loss to gradients; what is computed again for them belongs to it.
    Backward,
    /// From gradients to new weights.
    Optimizer,
}

/// Seconds by part.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSeconds {
    /// See [`Part::Data`].
    pub data: f64,
    /// See [`Part::Forward`].
    pub forward: f64,
    /// See [`Part::Backward`].
    pub backward: f64,
    /// See [`Part::Optimizer`].
    pub optimizer: f64,
}

impl PartSeconds {
    fn part(&mut self, part: Part) -> &mut f64 {
        match part {
            Part::Data => &mut self.data,
            Part::Forward => &mut self.forward,
            Part::Backward => &mut self.backward,
            Part::Optimizer => &mut self.optimizer,
        }
    }

    /// All parts together.
    pub fn sum(&self) -> f64 {
        self.data + self.forward + self.backward + self.optimizer
    }

    /// Both, part by part.
    pub fn plus(self, other: Self) -> Self {
        Self {
            data: self.data + other.data,
            forward: self.forward + other.forward,
            backward: self.backward + other.backward,
            optimizer: self.optimizer + other.optimizer,
        }
    }

    /// Every part so many times.
    pub fn times(self, factor: f64) -> Self {
        Self {
            data: self.data * factor,
            forward: self.forward * factor,
            backward: self.backward * factor,
            optimizer: self.optimizer * factor,
        }
    }
}

#[derive(Clone, Copy)]
struct Running {
    device: Device,
    part: Part,
    since: Instant,
    seconds: PartSeconds,
}

impl Running {
    fn turn_to(&mut self, part: Part) {
        let now = moment(self.device);
        *self.seconds.part(self.part) += now.duration_since(self.since).as_secs_f64();
        (self.part, self.since) = (part, now);
    }
}

thread_local! {
    static CLOCK: Cell<Option<Running>> = const { Cell::new(None) };
}

/// The time at which everything that was queued is done.
fn moment(device: Device) -> Instant {
    if let Device::Cuda(number) = device {
        Cuda::synchronize(i64::try_from(number).unwrap_or_default());
    }
    Instant::now()
}

/// Whether the step after `done` others is measured on a device. The first on CUDA is not: it loads what later ones have.
pub fn is_due(device: Device, done: u64) -> bool {
    !device.is_cuda() || done % EVERY == 1
}

/// What `work` gives, and the seconds of its parts; it begins with `first`.
pub fn measured<T>(device: Device, first: Part, work: impl FnOnce() -> T) -> (T, PartSeconds) {
    CLOCK.set(Some(Running { device, part: first, since: moment(device), seconds: PartSeconds::default() }));
    let given = work();
    let seconds = CLOCK.take().map_or_else(PartSeconds::default, |mut running| {
        running.turn_to(first);
        running.seconds
    });
    (given, seconds)
}

/// From here on time belongs to `part`. Does nothing where nothing is measured.
pub fn enter(part: Part) {
    if let Some(mut running) = CLOCK.get() {
        running.turn_to(part);
        CLOCK.set(Some(running));
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_part_gets_its_own_time_and_all_together_the_whole() {
        let millis = |count| sleep(Duration::from_millis(count));
        let begun = Instant::now();
        let (given, parts) = measured(Device::Cpu, Part::Optimizer, || {
            millis(4);
            for _ in 0..3 {
                enter(Part::Data);
                millis(2);
                enter(Part::Forward);
                millis(10);
                enter(Part::Backward);
                millis(20);
            }
            enter(Part::Optimizer);
            millis(5);
            7
        });
        let whole = begun.elapsed().as_secs_f64();
        assert_eq!(given, 7);
        assert!(parts.data >= 0.006 && parts.forward >= 0.03 && parts.backward >= 0.06, "{parts:?}");
        assert!(parts.optimizer >= 0.009, "{parts:?}");
        assert!(parts.sum() <= whole, "{parts:?} of {whole}");
    }

    #[test]
    fn nothing_is_measured_unasked_and_one_measurement_knows_nothing_of_another() {
        enter(Part::Forward);
        let (_, parts) = measured(Device::Cpu, Part::Data, || ());
        assert!(parts.data > 0.0 && parts.sum() == parts.data, "{parts:?}");
        enter(Part::Backward);
        assert!(CLOCK.get().is_none());
        assert!((0..200).filter(|done| is_due(Device::Cuda(0), *done)).eq([1, 65, 129, 193]));
        assert!((0..200).all(|done| is_due(Device::Cpu, done)));
    }
}
