//! Writing a dataset out as one file, and taking such a file in.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMillisecondType, UInt32Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::columnar::{Rows, Selection, StoredColumn, file_schema, properties, text_columns, with_schema};
use super::compact::Compactor;
use super::maintenance::{LocalRows, on_a_thread};
use super::segment::DurableEnd;
use super::{LocalSink, maintenance};
use crate::{Damage, Error, ErrorKind, PointRef, Result, ScanOptions, limits};

/// The format of an exported file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExportFormat {
    /// Parquet, compressed by zstd.
    Parquet,
    /// Comma-separated values by RFC 4180, with the columns' names in the first line. Times are ISO 8601 in UTC, with milliseconds;
    /// blobs that are not UTF-8 are written with the replacement character.
    Csv,
    /// Arrow's IPC file format ("Feather").
    Arrow,
}

impl FromStr for ExportFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "parquet" => Ok(Self::Parquet),
            "csv" => Ok(Self::Csv),
            "arrow" => Ok(Self::Arrow),
            other => {
                Err(Error::new(ErrorKind::Unsupported, format!("unknown format {other:?}: use parquet, csv or arrow")))
            }
        }
    }
}

/// The outcome of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Number of points.
    pub points: u64,
    /// Damaged data that was left out.
    pub damage: Damage,
}

impl LocalSink {
    /// Writes the durable points that the options select (without regard to their limit) to a new file with the columns of Analytics
    /// Engine's tables; index and blobs as text, but for columns with a value that is not UTF-8. The rows come in no certain order.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`], [`ErrorKind::PermissionDenied`], [`ErrorKind::Unavailable`], also where the file exists;
    /// [`ErrorKind::Corrupt`] where the manifest is damaged. Then the file is removed again.
    pub async fn export(
        &self,
        options: ScanOptions,
        format: ExportFormat,
        file: impl Into<PathBuf>,
    ) -> Result<ExportReport> {
        let path = file.into();
        let source = Source { folder: self.shared.folder.clone(), end: self.shared.end.clone(), options };
        let exported = on_a_thread(move || {
            let file = isobar_base::fs::private_file().write(true).create_new(true).open(&path);
            let file = file.map_err(|error| Error::io(&path, error))?;
            let written = source.write(format, file, &path);
            if written.is_err() {
                drop(std::fs::remove_file(&path));
            }
            written
        });
        exported.await.map_err(|error| error.during("export"))
    }

    /// Takes in the points of a Parquet file with the columns of an [export](Self::export), with their times. The points are durable,
    /// and visible all at once, when this returns. A file that is imported twice is there twice.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the file is not Parquet with these columns, or a row exceeds a limit: then nothing of it is
    /// taken; else as [`compact`](Self::compact).
    pub async fn import(&self, file: impl Into<PathBuf>) -> Result<u64> {
        const OPERATION: &str = "import";
        self.ensure_open(OPERATION)?;
        let path = file.into();
        let folder = self.shared.folder.clone();
        on_a_thread(move || import(&folder, &path)).await.map_err(|error| error.during(OPERATION))
    }
}

/// A dataset that is exported.
struct Source {
    folder: PathBuf,
    end: std::sync::Arc<DurableEnd>,
    options: ScanOptions,
}

impl Source {
    fn write(self, format: ExportFormat, file: File, path: &Path) -> Result<ExportReport> {
        // Twice over the same snapshot: which columns are text shows at its end.
        let scan = maintenance::LocalScan::take(&self.folder, &self.end, &self.options)?;
        let mut is_text = [true; 1 + limits::BLOBS];
        for batch in self.batches(&scan) {
            text_columns(&batch?.0, &mut is_text);
        }
        let schema = file_schema(&is_text);
        let mut output =
            Output::create(format, BufWriter::new(file), &schema).map_err(|problem| failed(path, problem))?;
        let mut report = ExportReport::default();
        for batch in self.batches(&scan) {
            let (batch, damage) = batch?;
            report.points += batch.num_rows() as u64;
            report.damage.merge(damage);
            let batch = with_schema(&batch, &schema).map_err(|error| failed(path, error))?;
            output.write(&batch).map_err(|problem| failed(path, problem))?;
        }
        let file = output.finish().map_err(|problem| failed(path, problem))?;
        file.sync_all().map_err(|error| Error::io(path, error))?;
        Ok(report)
    }

    /// The selected rows with all columns, index and blobs as binary.
    fn batches(&self, scan: &maintenance::LocalScan) -> impl Iterator<Item = Result<(RecordBatch, Damage)>> {
        let selection = Selection {
            columns: StoredColumn::all().collect(),
            from: self.options.from.map(|from| from.timestamp_millis()),
            until: self.options.until.map(|until| until.timestamp_millis()),
            ..Selection::default()
        };
        let options = self.options.clone();
        scan.clone().read(options.clone(), selection).map(move |read| {
            let (rows, counts) = read?;
            let batch = match rows {
                LocalRows::Columns(batch) => covered(&batch, &options)?,
                LocalRows::Events(events) => {
                    let mut rows = Rows::default();
                    for event in events {
                        let blobs: Vec<&[u8]> = event.point.blobs.iter().map(AsRef::as_ref).collect();
                        let point = PointRef::new(Some(event.index()), &blobs, &event.point.doubles);
                        rows.push(event.timestamp.timestamp_millis(), &point);
                    }
                    binary(rows)?
                }
                LocalRows::Nothing => binary(Rows::default())?,
            };
            Ok((batch, counts.damage))
        })
    }
}

/// The rows as a batch, index and blobs as binary.
fn binary(rows: Rows) -> Result<RecordBatch> {
    let sorted = rows.into_sorted();
    let batch =
        sorted.batch(0..sorted.len()).and_then(|batch| with_schema(&batch, &file_schema(&[false; 1 + limits::BLOBS])));
    batch.map_err(internal)
}

/// The rows of a batch that the options select: pages have others besides.
fn covered(batch: &RecordBatch, options: &ScanOptions) -> Result<RecordBatch> {
    let times = batch.column(StoredColumn::Timestamp.position()).as_primitive::<TimestampMillisecondType>();
    let is_covered =
        |time: &i64| chrono::DateTime::from_timestamp_millis(*time).is_some_and(|time| options.covers(time));
    let mask = times.values().iter().map(|time| Some(is_covered(time))).collect();
    arrow_select::filter::filter_record_batch(batch, &mask).map_err(internal)
}

/// A file that is being written.
enum Output {
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
    Arrow(Box<arrow_ipc::writer::FileWriter<BufWriter<File>>>),
    Csv(BufWriter<File>),
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

impl Output {
    fn create(format: ExportFormat, mut file: BufWriter<File>, schema: &SchemaRef) -> Result<Self, Problem> {
        Ok(match format {
            ExportFormat::Parquet => {
                let properties = properties().into_builder().set_sorting_columns(None).build();
                Self::Parquet(Box::new(ArrowWriter::try_new(file, schema.clone(), Some(properties))?))
            }
            ExportFormat::Arrow => Self::Arrow(Box::new(arrow_ipc::writer::FileWriter::try_new(file, schema)?)),
            ExportFormat::Csv => {
                let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                write!(file, "{}\r\n", names.join(","))?;
                Self::Csv(file)
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), Problem> {
        match self {
            Self::Parquet(writer) => Ok(writer.write(batch)?),
            Self::Arrow(writer) => Ok(writer.write(batch)?),
            Self::Csv(file) => Ok(write_csv(file, batch)?),
        }
    }

    fn finish(self) -> Result<File, Problem> {
        let file = match self {
            Self::Parquet(writer) => writer.into_inner()?,
            Self::Arrow(mut writer) => {
                writer.finish()?;
                writer.into_inner()?
            }
            Self::Csv(file) => file,
        };
        Ok(file.into_inner()?)
    }
}

fn write_csv(file: &mut impl Write, batch: &RecordBatch) -> std::io::Result<()> {
    for row in 0..batch.num_rows() {
        for (number, column) in batch.columns().iter().enumerate() {
            if number > 0 {
                file.write_all(b",")?;
            }
            match column.data_type() {
                DataType::Timestamp(..) => {
                    let milliseconds = column.as_primitive::<TimestampMillisecondType>().value(row);
                    let time = chrono::DateTime::from_timestamp_millis(milliseconds).unwrap_or_default();
                    write!(file, "{}", time.format("%Y-%m-%dT%H:%M:%S%.3fZ"))?;
                }
                DataType::UInt32 => write!(file, "{}", column.as_primitive::<UInt32Type>().value(row))?,
                DataType::Float64 => write!(file, "{}", column.as_primitive::<Float64Type>().value(row))?,
                DataType::Utf8 => write_field(file, column.as_string::<i32>().value(row))?,
                _ => write_field(file, &String::from_utf8_lossy(column.as_binary::<i32>().value(row)))?,
            }
        }
        file.write_all(b"\r\n")?;
    }
    Ok(())
}

/// Writes a text, between quotes where RFC 4180 wants them.
fn write_field(file: &mut impl Write, text: &str) -> std::io::Result<()> {
    if text.contains(['"', ',', '\r', '\n']) {
        write!(file, "\"{}\"", text.replace('"', "\"\""))
    } else {
        file.write_all(text.as_bytes())
    }
}

fn import(folder: &Path, path: &Path) -> Result<u64> {
    let unsupported = |problem: String| Error::new(ErrorKind::Unsupported, format!("{}: {problem}", path.display()));
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unsupported(error.to_string()))?;
    let names: Vec<_> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    if !names.iter().cloned().eq(StoredColumn::all().map(StoredColumn::name)) {
        return Err(unsupported("the file does not have the columns of an export, timestamp to double20".to_owned()));
    }
    let target = file_schema(&[false; 1 + limits::BLOBS]);
    let reader = reader.build().map_err(|error| unsupported(error.to_string()))?;
    let mut rows = Rows::default();
    let mut compactor = Compactor::begin(folder)?;
    let mut written = Vec::new();
    for batch in reader {
        let batch =
            batch.and_then(|batch| with_schema(&batch, &target)).map_err(|error| unsupported(error.to_string()))?;
        for event in super::columnar::events(&batch) {
            if let Some(problem) = event.point.problem() {
                return Err(unsupported(problem.to_string()));
            }
            let blobs: Vec<&[u8]> = event.point.blobs.iter().map(AsRef::as_ref).collect();
            rows.push(
                event.timestamp.timestamp_millis(),
                &PointRef::new(Some(event.index()), &blobs, &event.point.doubles),
            );
        }
        if rows.is_full() {
            written.push(compactor.write(std::mem::take(&mut rows))?);
        }
    }
    if rows.len() > 0 {
        written.push(compactor.write(rows)?);
    }
    compactor.add(written)
}

fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, error.to_string()).with_source(error)
}

/// Converts an error of writing a file; one of the disk stays one.
fn failed(path: &Path, problem: impl Into<Problem>) -> Error {
    let problem = problem.into();
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&*problem);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Error::io(path, std::io::Error::new(io.kind(), io.to_string()));
        }
        source = error.source();
    }
    Error::new(ErrorKind::Internal, format!("{}: {problem}", path.display())).with_source(problem)
}
