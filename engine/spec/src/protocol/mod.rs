//! What `protocol` may say: how a model is asked. One file a protocol that has settings.

mod decode;
mod generate;
mod perplexity;
mod span;

pub use decode::{Beam, BeamSample, Decode, Drawing, EarlyStopping, Sample};
pub use generate::Generate;
pub use perplexity::{Perplexity, Window};
pub use span::{NoAnswer, Span, Starts};

use crate::stage::{Empty, Fault};

crate::one_of! {
    /// How a model is asked.
    pub enum Protocol {
        /// The prompt is continued, and the text is scored.
        generate => Generate(Box<Generate>),
        /// The completion's own probability is scored.
        perplexity => Perplexity(Perplexity),
        /// The likeliest of the row's choices is compared with the right one.
        choices => Choices(Empty),
        /// The likeliest class is compared with the row's.
        classify => Classify(Empty),
        /// The number is compared with the row's.
        regress => Regress(Empty),
        /// The likeliest answer in the pair is scored as a text.
        span => Span(Span),
    }
}

impl Protocol {
    /// Mistakes that no type can express; paths begin at the protocol's name.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Generate(generate) => generate.faults(),
            Self::Perplexity(perplexity) => perplexity.faults(),
            Self::Span(span) => span.faults(),
            _ => Vec::new(),
        }
    }
}
