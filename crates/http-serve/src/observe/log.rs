//! The log of a native server.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// The filter of the log where `RUST_LOG` is not set.
// s3s writes an error for each request that it refuses; `isobar_gateway::audit` has those that matter.
const LOG: &str = "warn,isobar_gateway::lifecycle=info,isobar_http_serve=info,isobar_server=info,s3s=off";

/// Writes the log to standard error: as `RUST_LOG` says, else warnings and this service's own lines. Text on a terminal,
/// JSON with `ISOBAR_LOG=json`.
///
/// Call it once, first of all: lines before it are lost. Where a subscriber is set up already, as in a
/// test, it stays and this does nothing.
///
/// | variable | |
/// |---|---|
/// | `RUST_LOG` | filter, as `isobar_http_serve=debug,warn`. Default: `warn`, and `info` of this crate, the server and lifecycle sweeps |
/// | `ISOBAR_LOG` | `json` for a JSON object in each line. Default: text, coloured on a terminal |
///
/// ```
/// isobar_http_serve::native::init_log();
/// isobar_http_serve::native::init_log(); // no error
/// tracing::info!("ready");
/// ```
pub fn init_log() {
    // A log that is set up already stays.
    drop(tracing_subscriber::registry().with(log_layer()).try_init());
}

/// See [`init_log`].
pub(crate) fn log_layer<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let json = std::env::var("ISOBAR_LOG").is_ok_and(|format| format == "json");
    if json { log.json().with_filter(filter).boxed() } else { log.with_filter(filter).boxed() }
}
