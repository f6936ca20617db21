//! The Parquet file of a tokenized split. Knows its columns, not how rows are encoded.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, Int32Array, ListArray, StringArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, SchemaRef},
};

use super::{RowTexts, TokenRow, source::Columns};
use crate::{Error, table};

/// Which texts go with the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried(pub Columns);

/// A file of token rows that is being written.
pub struct Writer<'a> {
    path: &'a Path,
    carried: Carried,
    schema: SchemaRef,
    inner: table::Writer<'a>,
}

impl<'a> Writer<'a> {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &'a Path, carried: Carried) -> Result<Self, Error> {
        let mut fields = vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("input_ids", table::list_of(DataType::Int32), false),
            Field::new("completion_mask", table::list_of(DataType::Boolean), false),
            Field::new("prompt_length", DataType::Int32, false),
            Field::new("failed", DataType::Utf8, true),
        ];
        if carried.0.prompt {
            fields.push(Field::new("prompt", DataType::Utf8, false));
        }
        if carried.0.completion {
            fields.push(Field::new("completion", DataType::Utf8, false));
        }
        if carried.0.references {
            fields.push(Field::new("references", table::list_of(DataType::Utf8), false));
        }
        let schema = table::schema(fields);
        let inner = table::Writer::create(path, Arc::clone(&schema))?;
        Ok(Self { path, carried, schema, inner })
    }

    /// Writes rows.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(&mut self, rows: &[(TokenRow, RowTexts)]) -> Result<(), Error> {
        let lengths = || OffsetBuffer::from_lengths(rows.iter().map(|(row, _)| row.input_ids.len()));
        let item = |kind| Arc::new(Field::new("item", kind, false));
        let ids = Int32Array::from_iter_values(rows.iter().flat_map(|(row, _)| row.input_ids.iter().copied()));
        let mask: BooleanArray =
            rows.iter().flat_map(|(row, _)| row.completion_mask.iter().map(|on| Some(*on))).collect();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(row, _)| &row.id))),
            Arc::new(ListArray::new(item(DataType::Int32), lengths(), Arc::new(ids), None)),
            Arc::new(ListArray::new(item(DataType::Boolean), lengths(), Arc::new(mask), None)),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|(row, _)| row.prompt_length as i32))),
            Arc::new(rows.iter().map(|(row, _)| row.failed.as_deref()).collect::<StringArray>()),
        ];
        let text = |of: fn(&RowTexts) -> Option<&str>| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, texts)| of(texts).unwrap_or_default())))
        };
        if self.carried.0.prompt {
            columns.push(text(|texts| texts.prompt.as_deref()));
        }
        if self.carried.0.completion {
            columns.push(text(|texts| texts.completion.as_deref()));
        }
        if self.carried.0.references {
            let lists = rows.iter().map(|(_, texts)| texts.references.as_deref().unwrap_or_default());
            columns.push(Arc::new(table::texts(lists)));
        }
        self.inner.write(&table::batch(self.path, &self.schema, columns)?)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(self) -> Result<(), Error> {
        self.inner.finish()
    }
}
