//! What a training will need, before it runs: numbers that train, memory by part, and work. The model's outline comes from
//! the code that builds models; its steps are run on values without numbers. Knows no pipeline file.

mod families;
mod heap;
mod outline;
mod parts;
mod speed;
mod tape;

pub use outline::Outline;
pub use speed::Speed;
pub use tape::Work;

use serde::{Deserialize, Serialize};
use tch::Device;

use crate::error::Result;
use tape::{EXACT, Tape};

/// Rows that are computed at once, padded to one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Micro {
    /// Rows.
    pub rows: u64,
    /// Ids of each that are read, padding with them.
    pub length: u64,
    /// Ids of each that are written, padding with them: of an encoder–decoder alone.
    pub answer: u64,
    /// Targets that carry loss, of all rows.
    pub targets: u64,
}

/// What training keeps beside its activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Keeping {
    /// Whether the best weights are kept beside the newest.
    pub best: bool,
}

/// Memory of a training, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The model's tensors.
    pub weights: u64,
    /// The gradients of what trains.
    pub gradients: u64,
    /// The optimiser's moments, and weights that are kept beside the newest.
    pub optimizer: u64,
    /// The most that a step needs at once beside these: activations of its largest micro-batch with their gradients.
    pub activations: u64,
    /// What libtorch itself needs for its first step.
    pub runtime: u64,
}

impl Memory {
    /// The most at once, less the loaded model: what a training reports as its peak.
    pub fn peak(&self) -> u64 {
        self.gradients + self.optimizer + self.activations + self.runtime
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.peak()
    }
}

/// What the kernels of a first step need on the CPU: their code, which is read from the library as it is used, and the
/// memory that they keep; those for numbers of 16 bits are others, and of these the ones that give gradients of weights are
/// others again. Measured.
const RUNTIME: u64 = 22 << 20;
const RUNTIME_HALF: u64 = 26 << 20;
const RUNTIME_HALF_WEIGHTS: u64 = 10 << 20;

/// Steps after which what a process holds no longer grows much.
const STEPS: usize = 3;

/// The memory of a training whose micro-batches are these. On the CPU it is right once in a process: what is left of a
/// first heap is used again.
pub fn memory(outline: &Outline, micros: &[Micro], keeping: Keeping) -> Result<Memory> {
    let train = outline.trainable * EXACT;
    let optimizer = train * (2 + u64::from(keeping.best));
    let on_cpu = outline.device == Device::Cpu;
    let peak_of = |micro: &Micro, tape: Tape, count: usize| {
        steps(outline, &tape, *micro, keeping, count)?;
        Ok::<_, crate::error::Error>(tape.peak())
    };
    let mut largest = None;
    for micro in micros {
        let peak = peak_of(micro, Tape::default(), 2)?;
        if largest.is_none_or(|(most, _)| peak > most) {
            largest = Some((peak, micro));
        }
    }
    let peak = match largest {
        Some((_, micro)) if on_cpu => peak_of(micro, Tape::with_heap(), STEPS)?,
        Some((peak, _)) => peak,
        None => 0,
    };
    Ok(Memory {
        weights: outline.weight_bytes,
        gradients: train,
        optimizer,
        activations: peak.saturating_sub(train + optimizer),
        runtime: match (on_cpu, outline.compute()) {
            (false, _) => 0,
            (true, EXACT) => RUNTIME,
            (true, _) if outline.weights_learn() => RUNTIME_HALF + RUNTIME_HALF_WEIGHTS,
            (true, _) => RUNTIME_HALF,
        },
    })
}

/// The first steps of a training: [`crate::train::Weights`].
fn steps(outline: &Outline, tape: &Tape, micro: Micro, keeping: Keeping, steps: usize) -> Result<()> {
    let buffer = || tape.constant(outline.trainable, EXACT);
    let _moments = [buffer(), buffer()];
    let _best = keeping.best.then(buffer);
    // The first gradients come one by one, and are then moved into one buffer.
    tape.keep_gradients();
    let mut gradients = None;
    for _ in 0..steps {
        families::step(&parts::Pass::new(outline, tape), micro)?;
        gradients.get_or_insert_with(buffer);
        tape.add_gradients();
    }
    Ok(())
}

/// The work of one micro-batch, forward and backward.
pub fn work(outline: &Outline, micro: Micro) -> Result<Work> {
    let tape = Tape::default();
    families::step(&parts::Pass::new(outline, &tape), micro)?;
    Ok(tape.work())
}

/// The work of the optimiser in one step.
pub fn update(outline: &Outline) -> Work {
    Work { products: 0.0, written: (outline.trainable * EXACT * 3) as f64 }
}
