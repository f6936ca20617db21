//! The fine-tuning methods: one file each, and the registry that lists them. Knows their settings, not their mathematics.

pub mod bottleneck;
mod dora;
mod full;
mod ia3;
mod lora;
mod source;
mod targets;
mod vera;

pub use bottleneck::Bottleneck;
pub use dora::Dora;
pub use full::Full;
pub use ia3::Ia3;
pub use lora::Lora;
pub use source::{AdapterSource, Continued, Head};
pub use targets::{ROLES, Targets};
pub use vera::Vera;

use crate::stage::Fault;

crate::one_of! {
    /// What trains.
    pub enum Adapter {
        /// Every weight.
        full => Full(Full),
        /// Low-rank adaptation.
        lora => Lora(Lora),
        /// Weight-decomposed low-rank adaptation.
        dora => Dora(Dora),
        /// Bottlenecks behind or beside sublayers.
        bottleneck => Bottleneck(Bottleneck),
        /// Learned scales of inner activations.
        ia3 => Ia3(Ia3),
        /// Vectors around shared random matrices.
        vera => Vera(Vera),
    }
}

impl Adapter {
    /// Whether the base stays frozen and only an adapter is saved.
    pub fn is_adapter(&self) -> bool {
        !matches!(self, Self::Full(_))
    }

    /// Mistakes that no type can express; paths begin at the method's name.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Full(_) => Vec::new(),
            Self::Lora(lora) => low_rank_faults("lora", lora.rank, lora.alpha, lora.dropout, &lora.targets),
            Self::Dora(dora) => low_rank_faults("dora", dora.rank, dora.alpha, dora.dropout, &dora.targets),
            Self::Bottleneck(bottleneck) => bottleneck.faults(),
            Self::Ia3(ia3) => ia3.faults(),
            Self::Vera(vera) => vera.faults(),
        }
    }
}

fn low_rank_faults(method: &str, rank: u64, alpha: f64, dropout: f64, targets: &Targets) -> Vec<Fault> {
    let at = |key: &str| format!("{method}.{key}");
    let mut faults = Vec::new();
    if rank == 0 {
        faults.push(Fault::new(
            at("rank"),
            "a rank of zero trains nothing",
            "give a rank from 1 on; 8 and 16 are usual",
        ));
    }
    if !(alpha > 0.0 && alpha.is_finite()) {
        faults.push(Fault::new(at("alpha"), "alpha must be above zero", "`alpha: rank` or twice the rank is usual"));
    }
    if !(0.0..1.0).contains(&dropout) {
        faults.push(Fault::new(
            at("dropout"),
            format!("{dropout} is no probability below 1"),
            "give a number from 0 up to, not including, 1",
        ));
    }
    faults.extend(targets.faults().into_iter().map(|fault| Fault { path: at(&fault.path), ..fault }));
    faults
}
