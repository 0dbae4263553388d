//! The command `isobar analytics`.

mod chart;
mod query;

use clap::Subcommand;

use crate::Outcome;
use crate::place::Place;

#[derive(Debug, Subcommand)]
pub(crate) enum Analytics {
    /// Run a query in Analytics Engine's SQL
    Query(query::Run),
    /// List the datasets
    Tables {
        #[command(flatten)]
        at: query::Where,
    },
}

impl Analytics {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Query(run) => run.run(place).await,
            Self::Tables { at } => query::tables(at, place).await,
        }
    }
}
