//! ClickHouse, the engine of datasets that one machine does not hold.
//!
//! Analytics Engine is ClickHouse within, so that a dataset is a table with its columns: [`ClickHouseSink`] writes to it. Points wait in the
//! same bounded buffer as those of `local::LocalSink`, by the same policies; one thread sends them in batches.
//!
//! | an insert ... | then |
//! |---|---|
//! | is acknowledged | its points are `stored`; a flush that waits for them returns |
//! | finds no server, too many requests, or a failure of the server (500 to 504, 408, 429) | it is sent again with the same token, by the policy of the [client](ClickHouse::with_client) |
//! | is refused (another 4xx, or an exception that another attempt does not mend) | the batch goes to the dead-letter file with the reason: `refused` |
//! | has failed at each attempt, or its credentials are refused | the batch goes to the dead-letter file with the reason: `failed` |
//!
//! Each insert has a token (`insert_deduplication_token`), the same at each attempt, by which the server knows an insert that it has done
//! already: an answer that was lost on the way doubles no point. The server keeps the last 1,000 tokens of a table. `async_insert` is switched
//! off, so that an acknowledged point is in the table.
//!
//! With feature `query`, [`ClickHouse`] is a `QueryExecutor`: the same queries run there.
//!
//! The protocol is HTTP, by the client of `isobar-cloudflare`, which the workspace has already with its TLS, retries and injected clock. The
//! crate `clickhouse` (0.15) does not fit: an insert is streamed while it is serialised, so that it cannot be sent again; it has neither
//! retries nor deduplication tokens; and it brings eight further crates and a second pool of connections.

mod connection;
mod dead_letters;
#[cfg(feature = "query")]
mod executor;
mod options;
mod rows;
mod sink;
mod table;

pub use connection::ClickHouse;
pub use options::ClickHouseOptions;
pub use sink::ClickHouseSink;
