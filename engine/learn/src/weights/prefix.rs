//! A source whose names lack the prefix that a model with a head puts before them: files of the headless model, such as
//! `embeddings.…` for `bert.embeddings.…`.

use tch::{Kind, Tensor};

use super::{Init, Source};
use crate::error::Result;

/// A source that is asked without the prefix.
pub struct WithoutPrefix<'a> {
    source: &'a mut dyn Source,
    prefix: &'a str,
}

impl<'a> WithoutPrefix<'a> {
    /// Asks `source` for `name` where `prefix` and `name` are asked for.
    pub fn new(source: &'a mut dyn Source, prefix: &'a str) -> Self {
        Self { source, prefix }
    }

    fn bare<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix(self.prefix).unwrap_or(name)
    }
}

impl Source for WithoutPrefix<'_> {
    fn tensor(&mut self, name: &str, shape: &[i64], init: Init, kind: Kind) -> Result<Tensor> {
        self.source.tensor(self.bare(name), shape, init, kind)
    }

    fn extra(&mut self, name: &str, kind: Kind) -> Result<Option<Tensor>> {
        self.source.extra(self.bare(name), kind)
    }

    fn holds(&self, name: &str) -> bool {
        self.source.holds(self.bare(name))
    }

    fn leave_out(&mut self, prefix: &str) -> Vec<String> {
        self.source.leave_out(self.bare(prefix))
    }

    fn finish(&mut self) -> Result<()> {
        self.source.finish()
    }
}
