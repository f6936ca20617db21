//! Rows of a Parquet file: every plain column, lists as lists, structs as maps. Knows arrow's types.

use std::path::Path;

use arrow::{
    array::{Array, ArrayRef, AsArray, FixedSizeListArray, OffsetSizeTrait, RecordBatch},
    datatypes::{
        ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use serde_json::{Number, Value};

use super::Row;
use crate::{Error, table};

/// Reads the rows of a Parquet file.
pub(super) fn read(path: &Path) -> Result<Vec<Row>, Error> {
    let mut reader = table::open(path, None).map_err(|error| {
        error.hint("is this a Parquet file, and whole? it may have been cut while it was written or downloaded")
    })?;
    let mut rows = Vec::new();
    while let Some(batch) = table::next(path, &mut reader)? {
        rows.extend(rows_of(path, &batch)?);
    }
    Ok(rows)
}

fn rows_of(path: &Path, batch: &RecordBatch) -> Result<Vec<Row>, Error> {
    let mut rows = vec![Row::new(); batch.num_rows()];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let values = values(column).map_err(|kind| {
            Error::new(format!("the column `{}` is of a type that rows cannot hold: {kind}", field.name()))
                .in_file(path)
                .hint("write the file without this column, or make it text")
        })?;
        for (row, value) in rows.iter_mut().zip(values) {
            row.insert(field.name().clone(), value);
        }
    }
    Ok(rows)
}

/// A column's values as JSON. A type that has no JSON form is the error.
fn values(column: &ArrayRef) -> Result<Vec<Value>, String> {
    let array = column.as_ref();
    Ok(match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Boolean => array.as_boolean().iter().map(Value::from).collect(),
        DataType::Int8 => whole::<Int8Type>(array),
        DataType::Int16 => whole::<Int16Type>(array),
        DataType::Int32 => whole::<Int32Type>(array),
        DataType::Int64 => whole::<Int64Type>(array),
        DataType::UInt8 => whole::<UInt8Type>(array),
        DataType::UInt16 => whole::<UInt16Type>(array),
        DataType::UInt32 => whole::<UInt32Type>(array),
        DataType::UInt64 => whole::<UInt64Type>(array),
        DataType::Float16 => {
            array.as_primitive::<Float16Type>().iter().map(|value| real(value.map(f64::from))).collect()
        }
        // By its shortest digits: 0.1 is 0.1, not 0.10000000149.
        DataType::Float32 => {
            let shortest = |value: f32| value.to_string().parse().unwrap_or(f64::from(value));
            array.as_primitive::<Float32Type>().iter().map(|value| real(value.map(shortest))).collect()
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().map(real).collect(),
        DataType::Utf8 => array.as_string::<i32>().iter().map(Value::from).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(Value::from).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(Value::from).collect(),
        DataType::Binary => array.as_binary::<i32>().iter().map(bytes).collect(),
        DataType::LargeBinary => array.as_binary::<i64>().iter().map(bytes).collect(),
        DataType::BinaryView => array.as_binary_view().iter().map(bytes).collect(),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().iter().map(bytes).collect(),
        DataType::List(_) => lists::<i32>(array)?,
        DataType::LargeList(_) => lists::<i64>(array)?,
        DataType::FixedSizeList(..) => {
            let list: &FixedSizeListArray = array.as_fixed_size_list();
            let inner = values(list.values())?;
            let length = usize::try_from(list.value_length()).unwrap_or_default();
            let row = |row: usize| inner[row * length..(row + 1) * length].to_vec();
            present(array, |number| row(number).into())
        }
        DataType::Struct(fields) => {
            let mut rows = vec![Row::new(); array.len()];
            for (field, inner) in fields.iter().zip(array.as_struct().columns()) {
                for (row, value) in rows.iter_mut().zip(values(inner)?) {
                    row.insert(field.name().clone(), value);
                }
            }
            present(array, |row| Value::Object(std::mem::take(&mut rows[row])))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (keys, inner) = (values(map.keys())?, values(map.values())?);
            let key = |entry: usize| keys[entry].as_str().map_or_else(|| keys[entry].to_string(), str::to_owned);
            present(array, |row| {
                let entries = map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize;
                entries.map(|entry| (key(entry), inner[entry].clone())).collect()
            })
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let words = values(dictionary.values())?;
            let keys = if words.is_empty() { vec![0; array.len()] } else { dictionary.normalized_keys() };
            present(array, |row| words.get(keys[row]).cloned().unwrap_or_default())
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let number = |text: String| text.parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number);
            shown(array)?.into_iter().map(|text| text.map_or(Value::Null, number)).collect()
        }
        DataType::Timestamp(..)
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_) => shown(array)?.into_iter().map(Value::from).collect(),
        other => return Err(other.to_string()),
    })
}

fn whole<T: ArrowPrimitiveType>(array: &dyn Array) -> Vec<Value>
where
    Option<T::Native>: Into<Value>,
{
    array.as_primitive::<T>().iter().map(Into::into).collect()
}

/// JSON has no number that is not finite.
fn real(value: Option<f64>) -> Value {
    value.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// Bytes are text where they can be: older writers mark no column as text. Others are their hexadecimal digits.
fn bytes(value: Option<&[u8]>) -> Value {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    value
        .map_or(Value::Null, |bytes| std::str::from_utf8(bytes).map_or_else(|_| hexadecimal(bytes).into(), Value::from))
}

fn lists<O: OffsetSizeTrait>(array: &dyn Array) -> Result<Vec<Value>, String> {
    let list = array.as_list::<O>();
    let inner = values(list.values())?;
    let offsets = list.value_offsets();
    Ok(present(array, |row| inner[offsets[row].as_usize()..offsets[row + 1].as_usize()].to_vec().into()))
}

/// The value of each row that is not null.
fn present(array: &dyn Array, mut value: impl FnMut(usize) -> Value) -> Vec<Value> {
    (0..array.len()).map(|row| if array.is_null(row) { Value::Null } else { value(row) }).collect()
}

/// Dates, times and decimals as arrow writes them.
fn shown(array: &dyn Array) -> Result<Vec<Option<String>>, String> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array, &options).map_err(|error| error.to_string())?;
    let row = |row: usize| match array.is_null(row) {
        true => Ok(None),
        false => formatter.value(row).try_to_string().map(Some).map_err(|error| error.to_string()),
    };
    (0..array.len()).map(row).collect()
}
