//! A pipeline file as text: reading it, finding places in it, overriding and substituting values, and turning values
//! into typed settings with mistakes that point at what was written. Knows YAML, not what a stage means.

mod decode;
mod document;
mod overrides;
mod path;
mod source;
mod substitute;

pub use decode::{Misfit, decode, decode_as};
pub use document::{Document, Origins, get};
pub(crate) use overrides::put;
pub use path::{Segment, YamlPath};
pub use source::{Side, Source};
pub use substitute::{Scope, Substituted, SubstitutionFault, kind_of, scalar_text, substitute, uses};
