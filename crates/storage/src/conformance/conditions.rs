//! `onlyIf`, as a table over put and get.

use chrono::Duration;
use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, get_text, key, put};
use crate::{Conditions, Etags, GetOptions, GetResult, PutOptions, PutResult, Range};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "conditions" => {
            the_table_holds_on_an_object,
            the_table_holds_on_a_missing_object,
            create_only_creates_once,
            compare_and_swap_swaps_once,
            a_failed_get_tells_the_metadata,
            a_failed_condition_comes_before_the_range,
            header_times_compare_in_seconds,
            quoted_etags_are_refused,
        }
    }
}

/// Each condition alone, and the pairs of which one overrides the other: a passing `etag_matches` overrides `uploaded_before`.
async fn the_table_holds_on_an_object(store: Subject) -> Outcome {
    let meta = put(&store, "conditions/object", "x").await?;
    let yes = Etags::one(meta.etag.clone())?;
    let no = Etags::one("0".repeat(32))?;
    let past = meta.uploaded - Duration::hours(1);
    let future = meta.uploaded + Duration::hours(1);
    let none = Conditions::default;
    let weak = Etags::parse_header(&format!("W/\"{}\"", meta.etag)).ok_or_else(|| super::Failure("etag".into()))?;
    let table = [
        (none(), true),
        (none().with_etag_matches(yes.clone()), true),
        (none().with_etag_matches(no.clone()), false),
        (none().with_etag_matches(Etags::Any), true),
        (none().with_etag_matches(weak.clone()), false),
        (none().with_etag_does_not_match(yes.clone()), false),
        (none().with_etag_does_not_match(no.clone()), true),
        (none().with_etag_does_not_match(Etags::Any), false),
        (none().with_etag_does_not_match(weak), false),
        (none().with_uploaded_before(future), true),
        (none().with_uploaded_before(past), false),
        (none().with_uploaded_before(meta.uploaded), false),
        (none().with_uploaded_after(past), true),
        (none().with_uploaded_after(future), false),
        (none().with_uploaded_after(meta.uploaded), false),
        (none().with_etag_matches(yes.clone()).with_uploaded_before(past), true),
        (none().with_etag_matches(no.clone()).with_uploaded_before(future), false),
        (none().with_etag_does_not_match(no).with_uploaded_after(future), true),
        (none().with_etag_does_not_match(yes).with_uploaded_after(past), false),
        (none().with_uploaded_after(past).with_uploaded_before(future), true),
    ];
    for (conditions, holds) in table {
        let got =
            store.get(&key("conditions/object"), GetOptions::default().with_conditions(conditions.clone())).await?;
        ensure_eq!((&conditions, matches!(got, GetResult::Object { .. })), (&conditions, holds));
    }
    Ok(())
}

/// A missing object fails `etag_matches` and `uploaded_after`, and passes the others.
async fn the_table_holds_on_a_missing_object(store: Subject) -> Outcome {
    let etag = Etags::one("0".repeat(32))?;
    let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).ok_or_else(|| super::Failure("time".into()))?;
    let none = Conditions::default;
    let table = [
        (none(), true),
        (none().with_etag_matches(etag.clone()), false),
        (none().with_etag_matches(Etags::Any), false),
        (none().with_etag_does_not_match(etag), true),
        (none().with_etag_does_not_match(Etags::Any), true),
        (none().with_uploaded_before(now), true),
        (none().with_uploaded_after(now), false),
    ];
    for (conditions, holds) in table {
        let options = PutOptions::default().with_conditions(conditions.clone());
        let put = store.put(&key("conditions/missing"), "x".into(), options).await?;
        ensure_eq!((&conditions, put.stored().is_some()), (&conditions, holds));
        store.delete(&[key("conditions/missing")]).await?;
    }
    Ok(())
}

/// `If-None-Match: *` creates and never replaces.
async fn create_only_creates_once(store: Subject) -> Outcome {
    let options = || PutOptions::default().with_conditions(Conditions::create_only());
    let first = store.put(&key("conditions/create"), "one".into(), options()).await?;
    ensure!(first.stored().is_some());
    let second = store.put(&key("conditions/create"), "two".into(), options()).await?;
    ensure_eq!(second, PutResult::ConditionFailed);
    ensure_eq!(get_text(&store, "conditions/create", GetOptions::default()).await?, "one");
    Ok(())
}

/// Of eight concurrent writers with the same etag one succeeds.
async fn compare_and_swap_swaps_once(store: Subject) -> Outcome {
    let meta = put(&store, "conditions/swap", "0").await?;
    let swaps = (1..=8).map(|number: i32| {
        let store = store.clone();
        let etag = meta.etag.clone();
        async move {
            let options = PutOptions::default().with_conditions(Conditions::if_etag(etag)?);
            store.put(&key("conditions/swap"), format!("{number}").into(), options).await
        }
    });
    let swapped = futures_util::future::try_join_all(swaps).await?;
    ensure_eq!(swapped.into_iter().filter(|put| *put != PutResult::ConditionFailed).count(), 1);
    Ok(())
}

/// A failed condition is no error, and comes with the metadata that a 304 needs.
async fn a_failed_get_tells_the_metadata(store: Subject) -> Outcome {
    let meta = put(&store, "conditions/failed", "x").await?;
    let conditions = Conditions::default().with_etag_does_not_match(Etags::one(meta.etag.clone())?);
    match store.get(&key("conditions/failed"), GetOptions::default().with_conditions(conditions)).await? {
        GetResult::ConditionFailed(got) => ensure_eq!(got, meta),
        other => ensure!(false, "{other:?}"),
    }
    Ok(())
}

/// A condition that fails is reported even if the range is invalid.
async fn a_failed_condition_comes_before_the_range(store: Subject) -> Outcome {
    put(&store, "conditions/order", "x").await?;
    let conditions = Conditions::if_etag("0".repeat(32))?;
    let range = Range::From { offset: 99, length: None };
    let got = store
        .get(&key("conditions/order"), GetOptions::default().with_conditions(conditions).with_range(range))
        .await?;
    ensure!(matches!(got, GetResult::ConditionFailed(_)));
    Ok(())
}

/// A header's date has whole seconds, so the object's time is compared by its second.
async fn header_times_compare_in_seconds(store: Subject) -> Outcome {
    let meta = put(&store, "conditions/seconds", "x").await?;
    let mut headers = http::HeaderMap::new();
    let date = httpdate::fmt_http_date(meta.uploaded.into()).parse().map_err(|_| super::Failure("date".into()))?;
    headers.insert(http::header::IF_MODIFIED_SINCE, date);
    let conditions = Conditions::from_headers(&headers)?;
    // Uploaded some milliseconds after the whole second that the header can say: not modified all the same.
    let got = store.get(&key("conditions/seconds"), GetOptions::default().with_conditions(conditions)).await?;
    ensure!(matches!(got, GetResult::ConditionFailed(_)));
    Ok(())
}

/// Etags stand in quotes in headers and without them in the API; the other way round is refused, with workerd's words.
async fn quoted_etags_are_refused(_: Subject) -> Outcome {
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::IF_MATCH, http::HeaderValue::from_static("unquoted"));
    ensure_eq!(super::text(Conditions::from_headers(&headers))?, "Invalid ETag in if-match header");
    let refused = super::text(Conditions::if_etag("\"abc\""))?;
    ensure!(refused.contains("should not be wrapped in quotes"), "{refused}");
    Ok(())
}
