//! The readers of Parquet, one of which is ClickHouse, in a Python environment.

use std::error::Error;
use std::path::PathBuf;

use crate::python;

/// The readers and their versions. This chDB is ClickHouse 26.9 in a Python process.
pub(crate) const READERS: [(&str, &str); 3] = [("duckdb", "2.0.1"), ("chdb", "4.4.0"), ("pyarrow", "26.0.1")];

/// Returns the Python that has the readers; installs them if they are missing.
pub(crate) fn python() -> Result<PathBuf, Box<dyn Error>> {
    Ok(python::packages("analytics-readers", &READERS)?.join("python"))
}
