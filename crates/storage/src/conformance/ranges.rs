//! Ranges.

use isobar_testkit::{Case, cases, ensure_eq};

use super::{Outcome, Subject, fault, key, put};
use crate::{ByteRange, ErrorKind, GetOptions, GetResult, ObjectStore, Range};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "ranges" => {
            every_form_of_a_small_object,
            every_form_of_a_large_object,
            unsatisfiable_ranges_are_10039,
            an_empty_object_has_no_range,
            a_header_that_fits_no_byte_means_everything,
        }
    }
}

fn from(offset: u64, length: Option<u64>) -> Range {
    Range::From { offset, length }
}

/// Every form of a range, on a body that backends store beside its metadata.
async fn every_form_of_a_small_object(store: Subject) -> Outcome {
    check_forms(&*store, "ranges/small", 10).await
}

/// The same on a body of its own file.
async fn every_form_of_a_large_object(store: Subject) -> Outcome {
    check_forms(&*store, "ranges/large", 300_000).await
}

async fn check_forms(store: &dyn ObjectStore, name: &str, size: u64) -> Outcome {
    let bytes: Vec<u8> = (0..size).map(|position| (position % 251) as u8).collect();
    drop(store.put(&key(name), bytes.clone().into(), crate::PutOptions::default()).await?);
    let table = [
        (from(0, None), 0, size),
        (from(3, None), 3, size - 3),
        (from(3, Some(4)), 3, 4),
        (from(size - 1, Some(1)), size - 1, 1),
        (from(3, Some(u64::MAX)), 3, size - 3),
        (Range::first(2), 0, 2),
        (Range::Suffix(3), size - 3, 3),
        (Range::Suffix(size + 5), 0, size),
    ];
    for (range, offset, length) in table {
        match store.get(&key(name), GetOptions::default().with_range(range)).await? {
            GetResult::Object { meta, range: got, body } => {
                ensure_eq!((range, got), (range, ByteRange { offset, length }));
                ensure_eq!((meta.size, body.length()), (size, length));
                let want = &bytes[offset as usize..(offset + length) as usize];
                ensure_eq!((range, body.bytes().await? == want), (range, true));
            }
            other => return Err(super::Failure(format!("{range:?}: {other:?}"))),
        }
    }
    Ok(())
}

/// A range without a byte of the object is an error (10039).
async fn unsatisfiable_ranges_are_10039(store: Subject) -> Outcome {
    put(&store, "ranges/bad", "0123456789").await?;
    for range in [from(10, None), from(11, Some(1)), from(3, Some(0)), Range::Suffix(0)] {
        let got = store.get(&key("ranges/bad"), GetOptions::default().with_range(range)).await;
        ensure_eq!((range, fault(got)?), (range, (ErrorKind::InvalidRange, Some(10039))));
    }
    Ok(())
}

/// A `Range` header is R2's to interpret: several ranges, another unit and a range without a byte mean the whole object.
async fn a_header_that_fits_no_byte_means_everything(store: Subject) -> Outcome {
    put(&store, "ranges/header", "0123456789").await?;
    let table = [
        ("bytes=3-5", 3, 3),
        ("bytes=8-99", 8, 2),
        ("bytes=-4", 6, 4),
        ("bytes=-99", 0, 10),
        ("bytes=10-", 0, 10),
        ("bytes=5-3", 0, 10),
        ("bytes=-0", 0, 10),
        ("bytes=0-1,3-4", 0, 10),
        ("items=0-1", 0, 10),
        ("nonsense", 0, 10),
    ];
    for (header, offset, length) in table {
        match store.get(&key("ranges/header"), GetOptions::default().with_range_header(header)).await? {
            GetResult::Object { range, .. } => ensure_eq!((header, range), (header, ByteRange { offset, length })),
            other => return Err(super::Failure(format!("{header}: {other:?}"))),
        }
    }
    Ok(())
}

/// Every range of an empty object is unsatisfiable.
async fn an_empty_object_has_no_range(store: Subject) -> Outcome {
    put(&store, "ranges/empty", "").await?;
    for range in [from(0, None), Range::Suffix(5)] {
        let got = store.get(&key("ranges/empty"), GetOptions::default().with_range(range)).await;
        ensure_eq!(fault(got)?, (ErrorKind::InvalidRange, Some(10039)));
    }
    Ok(())
}
