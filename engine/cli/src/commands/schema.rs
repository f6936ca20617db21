//! `engine schema`: the JSON Schema of the pipeline file, or its reference for people.

use clap::Args;

use crate::Exit;

/// Print the JSON Schema of the pipeline file, for editors.
#[derive(Debug, Args)]
pub struct Schema {
    /// Print the reference for people instead, as docs/pipeline.md holds it.
    #[arg(long)]
    docs: bool,
}

/// Prints it.
pub fn run(schema: &Schema) -> Exit {
    if !schema.docs {
        outln!("{:#}", spec::schema::pipeline_schema());
        return Exit::Done;
    }
    match spec::docs::reference() {
        Ok(text) => {
            out!("{text}");
            Exit::Done
        }
        Err(error) => {
            eprintln!("the reference cannot be made: {error}");
            Exit::Failed
        }
    }
}
