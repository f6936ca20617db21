//! Parquet files: one writer and one reader, so that the same rows are always the same bytes. Knows arrow's columns;
//! does not know what they mean.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};
use parquet::{
    arrow::{
        ArrowSchemaConverter, ArrowWriter, ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    basic::{Compression, Encoding, Type, ZstdLevel},
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
};

use crate::error::{Error, parquet as failed};
use crate::library::guarded;

/// Rows that are made, written and read at once.
pub const CHUNK: usize = 2048;

/// Rows in a row group, at most. What a file keeps of each is held until the end, so there are few of them.
const ROW_GROUP: usize = 32 * CHUNK;

/// Bytes of a row group as it is written, at most: so much is held.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// A Parquet file that is being written, batch by batch.
pub struct Writer<'a> {
    path: &'a Path,
    inner: ArrowWriter<File>,
}

impl<'a> Writer<'a> {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &'a Path, schema: SchemaRef) -> Result<Self, Error> {
        let properties = properties(&schema).map_err(|error| failed("write", path, error))?;
        let file = File::create(path).map_err(|error| Error::io("write", path, &error))?;
        let inner =
            ArrowWriter::try_new(file, schema, Some(properties)).map_err(|error| failed("write", path, error))?;
        Ok(Self { path, inner })
    }

    /// Writes rows.
    ///
    /// # Errors
    /// When the disk is full, or the columns are not the schema's.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.inner.write(batch).map_err(|error| failed("write", self.path, error))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(self) -> Result<(), Error> {
        self.inner.close().map(drop).map_err(|error| failed("write", self.path, error))
    }
}

/// How a file is written: each column in the encoding that leaves least to zstd, as docs/benchmarks.md measures.
fn properties(schema: &Schema) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_created_by("engine".into());
    for column in ArrowSchemaConverter::new().convert(schema)?.columns() {
        let is_in_list = column.max_rep_level() > 0;
        let encoding = match column.physical_type() {
            // What it shares with the text before it is not written again.
            Type::BYTE_ARRAY => Encoding::DELTA_BYTE_ARRAY,
            // Token ids differ in their lower bytes: those of all ids stand together, and so do the upper ones.
            Type::INT32 | Type::INT64 if is_in_list => Encoding::BYTE_STREAM_SPLIT,
            Type::INT32 | Type::INT64 => Encoding::DELTA_BINARY_PACKED,
            _ => Encoding::PLAIN,
        };
        properties = properties.set_column_encoding(column.path().clone(), encoding);
    }
    Ok(properties.build())
}

/// A Parquet file's rows, batch by batch; of these columns alone where some are named.
///
/// # Errors
/// When the file is absent or damaged. A column that is named and absent is left out.
pub fn open(path: &Path, columns: Option<&[&str]>) -> Result<ParquetRecordBatchReader, Error> {
    let builder = builder(path)?;
    let mask = match columns {
        None => ProjectionMask::all(),
        Some(names) => {
            let roots = builder.schema().fields().iter().enumerate();
            let wanted = roots.filter(|(_, field)| names.contains(&field.name().as_str())).map(|(root, _)| root);
            ProjectionMask::roots(builder.parquet_schema(), wanted.collect::<Vec<_>>())
        }
    };
    guarded(path, || builder.with_projection(mask).with_batch_size(CHUNK).build())?
        .map_err(|error| failed("read", path, error))
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, Error> {
    let file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
    guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file))?.map_err(|error| failed("read", path, error))
}

/// How many rows a Parquet file has.
///
/// # Errors
/// When the file is absent or damaged.
pub fn row_count(path: &Path) -> Result<usize, Error> {
    let builder = builder(path)?;
    Ok(usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default())
}

/// The next batch of a reader.
///
/// # Errors
/// When the file is damaged.
pub fn next(path: &Path, reader: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>, Error> {
    guarded(path, || reader.next())?.transpose().map_err(|error| failed("read", path, error))
}

/// A batch of named columns, none of them null unless its field allows it.
///
/// # Errors
/// When the columns' lengths or types differ from the schema's.
pub fn batch(path: &Path, schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, Error> {
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| failed("write", path, error))
}

/// A schema of fields.
pub fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(Fields::from(fields)))
}

/// The type of a list of `item`s, none of them null.
pub fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

/// A column of lists of texts.
pub fn texts<'a>(rows: impl Iterator<Item = &'a [String]>) -> ListArray {
    let mut builder =
        ListBuilder::new(StringBuilder::new()).with_field(Arc::new(Field::new("item", DataType::Utf8, false)));
    for row in rows {
        for text in row {
            builder.values().append_value(text);
        }
        builder.append(true);
    }
    builder.finish()
}

/// A column by name and type.
///
/// # Errors
/// When the file has no such column, or one of another type.
pub fn column<'a, T: Array + 'static>(path: &Path, batch: &'a RecordBatch, name: &str) -> Result<&'a T, Error> {
    optional(batch, name).ok_or_else(|| {
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        Error::new(format!("the file has no column `{name}` of the right type"))
            .in_file(path)
            .hint(format!("its columns: {}", names.join(", ")))
    })
}

/// A column by name and type, if there is one.
pub fn optional<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Option<&'a T> {
    batch.column_by_name(name)?.as_any().downcast_ref()
}

/// A row of a column of lists of texts.
pub fn texts_of(lists: &ListArray, row: usize) -> Vec<String> {
    let values = lists.value(row);
    let texts = values.as_any().downcast_ref::<StringArray>();
    texts.into_iter().flat_map(|texts| texts.iter().flatten()).map(str::to_owned).collect()
}
