//! A split's rows on their way from one file into another: while a batch is made on all threads, the one before it is
//! written and the one behind it is read. Knows neither what is made of rows nor how it is written.

use std::path::Path;

use arrow::array::{RecordBatch, RecordBatchReader};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use rayon::prelude::*;
use spec::job::Event;

use super::Split;
use crate::{
    Error,
    job::Events,
    table,
    tokens::source::{Columns, SourceRow, SourceRows},
};

/// The rows of a split, a batch at a time.
pub(super) struct Batches<'a> {
    split: &'a str,
    path: &'a Path,
    reader: ParquetRecordBatchReader,
    /// What the rows have.
    pub columns: Columns,
    events: Events<'a>,
    total: usize,
}

impl<'a> Batches<'a> {
    /// Opens a split's file.
    pub fn open(Split { name: split, rows: path, events, .. }: Split<'a>) -> Result<Self, Error> {
        let reader = table::open(path, None)?;
        let columns = Columns::of(&RecordBatchReader::schema(&reader));
        Ok(Self { split, path, reader, columns, events, total: table::row_count(path)? })
    }

    /// Gives each row to `make`, on any thread, and what it made of a batch to `write`, in the order of the rows. Three
    /// batches are held at most, whatever the number of rows.
    pub fn each<M: Send>(
        mut self,
        make: impl Fn(SourceRow) -> Result<M, Error> + Sync,
        mut write: impl FnMut(Vec<M>) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        let path = self.path;
        let make_all = |batch: RecordBatch| {
            let rows = SourceRows::of(path, &batch)?;
            let made: Vec<Result<M, Error>> =
                (0..batch.num_rows()).into_par_iter().map(|row| make(rows.row(row))).collect();
            // The first row's mistake, not that which some thread meets first.
            made.into_iter().collect::<Result<Vec<M>, Error>>()
        };
        let mut read = table::next(path, &mut self.reader)?;
        let mut made: Option<Vec<M>> = None;
        let (mut done, mut of_made) = (0, 0);
        while read.is_some() || made.is_some() {
            let of_read = read.as_ref().map_or(0, RecordBatch::num_rows);
            let reader = &mut self.reader;
            let (written, (now, next)) = rayon::join(
                || made.map_or(Ok(()), &mut write),
                || rayon::join(|| read.map(make_all).transpose(), || table::next(path, reader)),
            );
            written?;
            done += of_made;
            if of_made > 0 {
                self.tell(done);
            }
            (made, of_made, read) = (now?, of_read, next?);
        }
        Ok(())
    }

    fn tell(&self, done: usize) {
        let note = format!("split {}", self.split);
        let (done, total) = (done as u64, self.total as u64);
        (self.events)(Event::Progress { done, total, unit: "rows".into(), note });
    }
}
