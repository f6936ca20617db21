//! What a pipeline file may say: its vocabulary as plain structs, one file a stage kind, method and metric; how its text
//! is read, substituted and checked; and the job that a stage becomes. Knows no graph, no store, no tensor.

pub mod adapter;
pub mod block;
pub mod diagnostic;
pub mod docs;
pub mod execution;
pub mod extract;
pub mod files;
pub mod forecast;
pub mod include;
pub mod inspection;
pub mod job;
pub mod matrix;
pub mod measure;
pub mod metric;
pub mod model;
pub mod names;
pub mod observed;
pub mod one_of;
pub mod optimizer;
pub mod pipeline;
pub mod precision;
pub mod protocol;
pub mod reference;
pub mod schedule;
pub mod schema;
pub mod stage;
pub mod stage_or;
pub mod suggest;
pub mod text;
pub mod top;
pub mod track;
pub mod trial;
pub mod yields;
