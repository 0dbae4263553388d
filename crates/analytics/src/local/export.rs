//! Writing a dataset out as one file, and taking such a file in.
//!
//! An export reads the same snapshot twice: the first time to find the columns that are text throughout, as a file's schema stands before its
//! rows. An import is a compaction whose rows come from a file: its segments are written first and committed to the manifest at once, so
//! that all of its points appear together or none does.

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

use super::LocalSink;
use super::columnar::{Rows, StoredColumn, events, file_schema, properties, with_schema};
use super::compact::Compactor;
use super::files::NewFile;
use super::frame::Stamp;
use super::maintenance::on_a_thread;
use super::reader::Reader;
use super::snapshot::{Dataset, Snapshot};
use crate::{Batch, Damage, Error, ErrorKind, Event, PointRef, Result, ScanOptions, limits};

/// The format of an exported file.
///
/// Parsed from `parquet`, `csv` and `arrow`:
///
/// ```
/// use isobar_analytics::local::ExportFormat;
///
/// assert_eq!("csv".parse::<ExportFormat>()?, ExportFormat::Csv);
/// assert!("xlsx".parse::<ExportFormat>().is_err());
/// # Ok::<(), isobar_analytics::Error>(())
/// ```
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
    /// Writes the durable points that [`read`](crate::EventSink::read) returns for these options to a new file with the columns of
    /// Analytics Engine's tables; index and blobs as text, but for columns with a value that is not UTF-8. The rows come in no certain
    /// order. The file gets its name when it is whole, and it is durable when this returns.
    ///
    /// ```
    /// use isobar_analytics::local::{ExportFormat, LocalSink};
    /// use isobar_analytics::{DataPoint, EventSink, ScanOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let sink = LocalSink::open(folder.path().join("visits"))?;
    /// sink.write(DataPoint::new().with_index("tenant-1").with_blob("/home").with_double(12.5));
    /// sink.flush().await?;
    /// let file = folder.path().join("visits.csv");
    /// let report = sink.export(ScanOptions::default(), ExportFormat::Csv, &file).await?;
    /// assert!(report.points == 1 && report.damage.is_none());
    /// let text = std::fs::read_to_string(&file)?;
    /// assert!(text.starts_with("timestamp,_sample_interval,index1,blob1,blob2,"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the file exists; [`ErrorKind::StorageFull`], [`ErrorKind::PermissionDenied`],
    /// [`ErrorKind::Unavailable`]; [`ErrorKind::Corrupt`] where the manifest is lost or damaged. Then no file is left.
    pub async fn export(
        &self,
        options: ScanOptions,
        format: ExportFormat,
        file: impl Into<PathBuf>,
    ) -> Result<ExportReport> {
        let path = file.into();
        let source = Source { dataset: self.shared.dataset.clone(), options };
        let exported = on_a_thread(move || source.write(format, &path));
        exported.await.map_err(|error| error.during("export"))
    }

    /// Takes in the points of a Parquet file with the columns of an [export](Self::export), with their times. The points are durable,
    /// and visible all at once, when this returns. A file that is imported twice is there twice.
    ///
    /// Returns the number of points. Retention counts their own times: points that are too old are removed with the next check.
    ///
    /// ```
    /// use isobar_analytics::local::{ExportFormat, LocalSink};
    /// use isobar_analytics::{DataPoint, EventSink, EventSinkExt, ScanOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let sink = LocalSink::open(folder.path().join("visits"))?;
    /// sink.write(DataPoint::new().with_index("tenant-1"));
    /// sink.flush().await?;
    /// let file = folder.path().join("visits.parquet");
    /// sink.export(ScanOptions::default(), ExportFormat::Parquet, &file).await?;
    ///
    /// let copy = LocalSink::open(folder.path().join("copy"))?;
    /// assert_eq!(copy.import(&file).await?, 1);
    /// let events = copy.scan(ScanOptions::default()).await?.events;
    /// assert_eq!(events[0].index(), b"tenant-1");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the file is not Parquet with these columns, or a row exceeds a limit or stands for no point
    /// (`_sample_interval` is 0): then nothing of it is taken; else as [`compact`](Self::compact).
    pub async fn import(&self, file: impl Into<PathBuf>) -> Result<u64> {
        const OPERATION: &str = "import";
        self.ensure_open(OPERATION)?;
        let path = file.into();
        let folder = self.shared.dataset.folder.clone();
        on_a_thread(move || import(&folder, &path)).await.map_err(|error| error.during(OPERATION))
    }
}

/// A dataset that is exported.
struct Source {
    dataset: Dataset,
    options: ScanOptions,
}

impl Source {
    fn write(self, format: ExportFormat, path: &Path) -> Result<ExportReport> {
        let (new, file) = NewFile::create(path)?;
        // Twice over the same snapshot: which columns are text shows at its end.
        let snapshot = Snapshot::take(&self.dataset, &self.options)?;
        let mut is_text = [true; 1 + limits::BLOBS];
        for batch in self.batches(&snapshot)? {
            batch?.events.iter().for_each(|event| text_columns(event, &mut is_text));
        }
        let schema = file_schema(&is_text);
        let mut output =
            Output::create(format, BufWriter::new(file), &schema).map_err(|problem| failed(path, problem))?;
        let mut report = ExportReport::default();
        for batch in self.batches(&snapshot)? {
            let Batch { events, damage } = batch?;
            report.points += events.len() as u64;
            report.damage.merge(damage);
            let mut rows = Rows::default();
            events.iter().for_each(|event| add(&mut rows, event));
            let rows = rows.into_sorted();
            let batch = rows.batch(0..rows.len()).and_then(|batch| with_schema(&batch, &schema));
            output.write(&batch.map_err(internal)?).map_err(|problem| failed(path, problem))?;
        }
        let file = output.finish().map_err(|problem| failed(path, problem))?;
        new.publish(&file)?;
        Ok(report)
    }

    /// The batches that the options select, as others read them.
    fn batches(&self, snapshot: &Snapshot) -> Result<impl Iterator<Item = Result<Batch>>> {
        let mut reader = Reader::new(snapshot.clone(), self.options.clone())?;
        Ok(std::iter::from_fn(move || reader.batch()))
    }
}

/// Unmarks the columns, in the order of [`file_schema`], of which this event has another value than text.
fn text_columns(event: &Event, is_text: &mut [bool; 1 + limits::BLOBS]) {
    let blobs = (1..=limits::BLOBS).map(|number| event.blob(number));
    for (value, is_text) in std::iter::once(event.index()).chain(blobs).zip(is_text) {
        *is_text = *is_text && std::str::from_utf8(value).is_ok();
    }
}

/// Adds an event to rows.
fn add(rows: &mut Rows, event: &Event) {
    let mut blobs: [&[u8]; limits::BLOBS] = [&[]; limits::BLOBS];
    for (slot, blob) in blobs.iter_mut().zip(&event.point.blobs) {
        *slot = blob;
    }
    let point = PointRef::new(Some(event.index()), &blobs[..event.point.blobs.len()], &event.point.doubles);
    let milliseconds = event.timestamp.timestamp_millis();
    rows.push(Stamp { milliseconds, sample_interval: event.sample_interval }, &point);
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
        return Err(unsupported("the file does not have the columns of an exported dataset: timestamp, _sample_interval, index1, blob1 to blob20, double1 to double20".to_owned()));
    }
    let target = file_schema(&[false; 1 + limits::BLOBS]);
    let reader = reader.build().map_err(|error| unsupported(error.to_string()))?;
    let mut compactor = Compactor::begin(folder)?;
    let mut written = Vec::new();
    let take = || -> Result<()> {
        let mut rows = Rows::default();
        let mut row = 0;
        for batch in reader {
            let batch = batch.and_then(|batch| with_schema(&batch, &target));
            let batch = batch.map_err(|error| unsupported(error.to_string()))?;
            let events = events(&batch);
            if let Some((at, problem)) = invalid_row(&batch, &events) {
                return Err(unsupported(format!("row {}: {problem}", row + at + 1)));
            }
            row += events.len();
            events.iter().for_each(|event| add(&mut rows, event));
            if rows.is_full() {
                written.push(compactor.write(std::mem::take(&mut rows))?);
            }
        }
        if rows.len() > 0 {
            written.push(compactor.write(rows)?);
        }
        Ok(())
    };
    if let Err(error) = take() {
        compactor.discard(&written);
        return Err(error);
    }
    compactor.add(written)
}

/// The first row, counted from 0, that cannot be taken in, and the reason.
fn invalid_row(batch: &RecordBatch, events: &[Event]) -> Option<(usize, String)> {
    let times = batch.column(StoredColumn::Timestamp.position()).as_primitive::<TimestampMillisecondType>().values();
    let problem = |row: usize, event: &Event| match event.sample_interval {
        0 => Some("_sample_interval is 0; a row stands for one point at least".to_owned()),
        _ if chrono::DateTime::from_timestamp_millis(times[row]).is_none() => {
            Some(format!("timestamp {} ms is out of range", times[row]))
        }
        _ => event.point.problem().map(|problem| problem.to_string()),
    };
    events.iter().enumerate().find_map(|(row, event)| Some((row, problem(row, event)?)))
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
