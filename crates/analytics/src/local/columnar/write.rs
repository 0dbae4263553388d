//! Writing a columnar segment.
//!
//! | property | value | because |
//! |---|---|---|
//! | row group | up to 262,144 rows | the writer has one in memory |
//! | page | up to 8,192 rows | the finest that a query's bounds can leave out |
//! | order | index, time | an index has few pages, and times compress as differences |
//! | compression | zstd, level 3 | see the benches |
//! | times | differences, bit-packed | sorted within an index |
//! | texts | dictionary, or plain where it grows too large | routes and countries repeat |
//! | doubles | dictionary, or split by significance | the first bytes of measurements are alike |

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::file::SummingFile;
use super::layout::{StoredColumn, bytes};
use crate::local::files;
use crate::local::manifest::{self, Entry};
use crate::{Error, ErrorKind, Result, limits};

/// Most rows of a row group; all but the last of a file have them.
pub(crate) const ROW_GROUP_ROWS: usize = 256 * 1024;
/// Most rows of a page, and so the finest that the page index can leave out.
const PAGE_ROWS: usize = 8 * 1024;
/// Level of the compression; see the benches for what others take.
const ZSTD_LEVEL: i32 = 3;

/// A columnar segment that is being written, under a name of its own. Removed when it is dropped before it is finished.
#[derive(Debug)]
pub(crate) struct ColumnarWriter {
    folder: PathBuf,
    number: u64,
    path: PathBuf,
    writer: Option<ArrowWriter<SummingFile>>,
    rows: u64,
    from: i64,
    until: i64,
    /// Least and greatest index.
    indexes: Option<(Vec<u8>, Vec<u8>)>,
}

impl ColumnarWriter {
    /// Begins the segment with this number.
    pub(crate) fn create(folder: &Path, number: u64, schema: SchemaRef) -> Result<Self> {
        let path = folder.join(format!("{}.tmp", manifest::name(number)));
        let file = isobar_base::fs::private_file().write(true).create(true).truncate(true).open(&path);
        let file = SummingFile::new(file.map_err(|error| Error::io(&path, error))?);
        let options = ArrowWriterOptions::new().with_properties(properties()).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, schema, options).map_err(|error| failed(&path, error))?;
        let folder = folder.to_owned();
        Ok(Self { folder, number, path, writer: Some(writer), rows: 0, from: i64::MAX, until: i64::MIN, indexes: None })
    }

    /// Appends rows with all columns, which are behind those before by index and time.
    pub(crate) fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let times = batch.column(StoredColumn::Timestamp.position()).as_primitive::<TimestampMillisecondType>();
        for time in times.values() {
            self.from = self.from.min(*time);
            self.until = self.until.max(*time);
        }
        self.rows += batch.num_rows() as u64;
        if let Some(last) = batch.num_rows().checked_sub(1) {
            let indexes = batch.column(StoredColumn::Index.position());
            let index = |row: usize| bytes(indexes, row).unwrap_or_default().to_vec();
            let (_, greatest) = self.indexes.get_or_insert_with(|| (index(0), Vec::new()));
            *greatest = index(last);
        }
        let writer = self.writer.as_mut().expect("the writer is taken when the segment is finished");
        writer.write(batch).map_err(|error| failed(&self.path, error))
    }

    /// Makes the file durable under its name, and returns its entry for the manifest. Until that is committed, it is not read.
    pub(crate) fn finish(mut self) -> Result<Entry> {
        let writer = self.writer.take().expect("the writer is taken when the segment is finished");
        let summing = writer.into_inner().map_err(|error| failed(&self.path, error))?;
        let io = |error| Error::io(&self.path, error);
        files::sync(&summing.file, &self.path).map_err(io)?;
        files::rename(&self.path, &self.folder.join(manifest::name(self.number))).map_err(io)?;
        files::sync_dir(&self.folder)?;
        let bytes = summing.bytes;
        let sums = summing.into_sums();
        let indexes = self.indexes.take().map(|(least, greatest)| (hex::encode(least), hex::encode(greatest)));
        Ok(Entry {
            number: self.number,
            rows: self.rows,
            bytes,
            from: self.from,
            until: self.until,
            sums,
            indexes,
            object: None,
        })
    }
}

impl Drop for ColumnarWriter {
    fn drop(&mut self) {
        // It has another name once it is finished.
        drop(fs::remove_file(&self.path));
    }
}

/// Returns the properties of every Parquet file.
pub(crate) fn properties() -> WriterProperties {
    let column = |column: StoredColumn| ColumnPath::from(column.name());
    let ascending = |column: StoredColumn| SortingColumn {
        column_idx: column.position() as i32,
        descending: false,
        nulls_first: false,
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("isobar-analytics {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).expect("the level is one of zstd's")))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_sorting_columns(Some(vec![ascending(StoredColumn::Index), ascending(StoredColumn::Timestamp)]))
        // By page where a query prunes by pages; by row group elsewhere.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled(column(StoredColumn::Timestamp), EnabledStatistics::Page)
        .set_column_statistics_enabled(column(StoredColumn::Index), EnabledStatistics::Page)
        // Times ascend within an index, so their differences are small.
        .set_column_dictionary_enabled(column(StoredColumn::Timestamp), false)
        .set_column_encoding(column(StoredColumn::Timestamp), Encoding::DELTA_BINARY_PACKED);
    for number in 1..=limits::DOUBLES {
        // Where a dictionary is too large: bytes of the same significance side by side, which compress better.
        properties = properties.set_column_encoding(column(StoredColumn::Double(number)), Encoding::BYTE_STREAM_SPLIT);
    }
    properties.build()
}

/// Converts an error of the writer; one of the disk stays one.
fn failed(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(error) => Error::io(path, *error),
            Err(source) => Error::new(ErrorKind::Internal, format!("{}: {source}", path.display())).with_source(source),
        },
        error => Error::new(ErrorKind::Internal, format!("{}: {error}", path.display())).with_source(error),
    }
}
