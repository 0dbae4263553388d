//! D1's limits.

use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, refused, table};
use crate::{ErrorKind, QueryableExt};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "limits" => {
            statement_is_limited_to_100_parameters if "sqlite",
            table_is_limited_to_100_columns if "sqlite",
            statement_is_limited_to_100000_bytes if "sqlite",
            pattern_is_limited_to_50_bytes if "sqlite",
            compound_selects_and_depth_are_limited if "sqlite",
        }
    }
}

async fn statement_is_limited_to_100_parameters(db: Subject) -> Outcome {
    let sql = |count: usize| format!("SELECT max({})", vec!["?"; count].join(", "));
    let max: f64 = db.prepare(sql(100)).bind_all((0..100).map(f64::from)).one().await?;
    ensure_eq!(max, 99.0);
    let (_, text) = refused(&db, &sql(101)).await?;
    ensure!(text.contains("too many SQL variables"), "{text}");
    let (_, text) = refused(&db, "SELECT ?101").await?;
    ensure!(text.contains("variable number must be between ?1 and ?100"), "{text}");
    Ok(())
}

async fn table_is_limited_to_100_columns(db: Subject) -> Outcome {
    let columns = |count: usize| (0..count).map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ");
    table(&db, "l_100", &columns(100)).await?;
    let (_, text) = refused(&db, &format!("CREATE TABLE l_101 ({})", columns(101))).await?;
    ensure!(text.contains("too many columns on l_101"), "{text}");
    Ok(())
}

async fn statement_is_limited_to_100000_bytes(db: Subject) -> Outcome {
    let sql = |bytes: usize| format!("SELECT '{}'", "x".repeat(bytes - 9));
    db.prepare(sql(100_000)).run().await?;
    let (kind, text) = refused(&db, &sql(100_001)).await?;
    ensure_eq!((kind, text.as_str()), (ErrorKind::TooBig, "D1_ERROR: statement too long: SQLITE_TOOBIG"));
    Ok(())
}

async fn pattern_is_limited_to_50_bytes(db: Subject) -> Outcome {
    db.prepare("SELECT 'x' LIKE ?").bind("%".repeat(50)).run().await?;
    let (_, text) = refused(&db, &format!("SELECT 'x' LIKE '{}'", "%".repeat(51))).await?;
    ensure!(text.contains("LIKE or GLOB pattern too complex"), "{text}");
    Ok(())
}

async fn compound_selects_and_depth_are_limited(db: Subject) -> Outcome {
    let union = |count: usize| vec!["SELECT 1"; count].join(" UNION ALL ");
    db.prepare(union(5)).run().await?;
    let (_, text) = refused(&db, &union(6)).await?;
    ensure!(text.contains("too many terms in compound SELECT"), "{text}");
    let (_, text) = refused(&db, &format!("SELECT {}", vec!["1"; 102].join(" + "))).await?;
    ensure!(text.contains("Expression tree is too large"), "{text}");
    Ok(())
}
