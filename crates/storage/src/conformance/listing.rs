//! Listings.

use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, fault, key, put};
use crate::{ErrorKind, ListOptions, ObjectStoreExt, PutOptions};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "listing" => {
            keys_come_in_byte_order,
            pages_join_to_the_whole,
            delimiters_group,
            groups_count_towards_the_limit,
            any_string_delimits,
            start_after_comes_before_grouping,
            start_after_excludes,
            start_after_and_cursor_take_the_larger,
            later_inserts_behind_the_cursor_appear,
            metadata_comes_when_included,
            limits_are_10022,
            list_all_walks_every_page,
        }
    }
}

/// All keys and groups of a listing, page by page.
async fn walk(
    store: &Subject,
    options: ListOptions,
) -> std::result::Result<(Vec<String>, Vec<String>, usize), super::Failure> {
    let mut keys = Vec::new();
    let mut groups = Vec::new();
    let mut pages = 0;
    let mut options = options;
    loop {
        let page = store.list(options.clone()).await?;
        pages += 1;
        keys.extend(page.objects.into_iter().map(|object| object.key.as_str().to_owned()));
        groups.extend(page.prefixes);
        match page.cursor {
            Some(cursor) => options = options.with_cursor(cursor),
            None => return Ok((keys, groups, pages)),
        }
    }
}

async fn fill(store: &Subject, prefix: &str, names: &[&str]) -> crate::Result<()> {
    for name in names {
        put(store, &format!("{prefix}{name}"), "x").await?;
    }
    Ok(())
}

/// The order is that of the UTF-8 bytes, not of characters or a locale.
async fn keys_come_in_byte_order(store: Subject) -> Outcome {
    fill(&store, "order/", &["b", "a", "B", "é", "z", "a/b", "a.b", "\u{1F980}", "\u{FFFD}"]).await?;
    let (keys, ..) = walk(&store, ListOptions::default().with_prefix("order/")).await?;
    let mut sorted = keys.clone();
    sorted.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    ensure_eq!(keys.len(), 9);
    ensure_eq!(keys, sorted);
    Ok(())
}

/// For each limit, the pages together have each key once.
async fn pages_join_to_the_whole(store: Subject) -> Outcome {
    let names: Vec<String> = (0..25).map(|number| format!("{number:03}")).collect();
    fill(&store, "pages/", &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    for limit in [1, 7, 25, 26] {
        let (keys, groups, pages) =
            walk(&store, ListOptions::default().with_prefix("pages/").with_limit(limit)).await?;
        ensure_eq!(keys, names.iter().map(|name| format!("pages/{name}")).collect::<Vec<_>>());
        ensure!(groups.is_empty());
        ensure!(pages >= 25usize.div_ceil(limit), "limit {limit}: {pages} pages");
    }
    Ok(())
}

/// Keys with the delimiter behind the prefix are replaced by their beginning up to it, once.
async fn delimiters_group(store: Subject) -> Outcome {
    fill(&store, "groups/", &["a", "b/1", "b/2", "b/c/3", "c", "d/"]).await?;
    let page = store.list(ListOptions::default().with_prefix("groups/").with_delimiter("/")).await?;
    let keys: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
    ensure_eq!(keys, ["groups/a", "groups/c"]);
    ensure_eq!(page.prefixes, ["groups/b/", "groups/d/"]);
    ensure_eq!(page.cursor, None);
    Ok(())
}

/// Keys and groups of a page together are no more than the limit, and a group is never split over two pages.
async fn groups_count_towards_the_limit(store: Subject) -> Outcome {
    fill(&store, "cut/", &["a", "b/1", "b/2", "c", "d/1", "e"]).await?;
    for limit in 1..=6 {
        let options = ListOptions::default().with_prefix("cut/").with_delimiter("/").with_limit(limit);
        let page = store.list(options.clone()).await?;
        ensure!(page.objects.len() + page.prefixes.len() <= limit);
        let (keys, groups, _) = walk(&store, options).await?;
        ensure_eq!((limit, keys), (limit, ["cut/a", "cut/c", "cut/e"].map(String::from).to_vec()));
        ensure_eq!((limit, groups), (limit, ["cut/b/", "cut/d/"].map(String::from).to_vec()));
    }
    Ok(())
}

/// A delimiter may have several characters.
async fn any_string_delimits(store: Subject) -> Outcome {
    fill(&store, "delimiter/", &["a--b", "a--c", "a-d", "--"]).await?;
    let page = store.list(ListOptions::default().with_prefix("delimiter/").with_delimiter("--")).await?;
    ensure_eq!(page.prefixes, ["delimiter/--", "delimiter/a--"]);
    ensure_eq!(page.objects.len(), 1);
    Ok(())
}

/// Keys up to `start_after` are left out before groups are made.
async fn start_after_comes_before_grouping(store: Subject) -> Outcome {
    fill(&store, "filter/", &["a/1", "a/2", "b"]).await?;
    for (after, groups) in [("filter/a", 1), ("filter/a/", 1), ("filter/a/1", 1), ("filter/a/2", 0), ("filter/a0", 0)] {
        let options = ListOptions::default().with_prefix("filter/").with_delimiter("/").with_start_after(after);
        ensure_eq!((after, store.list(options).await?.prefixes.len()), (after, groups));
    }
    Ok(())
}

/// The key itself is left out.
async fn start_after_excludes(store: Subject) -> Outcome {
    fill(&store, "after/", &["a", "b", "c"]).await?;
    let options = ListOptions::default().with_prefix("after/");
    let (keys, ..) = walk(&store, options.clone().with_start_after("after/a")).await?;
    ensure_eq!(keys, ["after/b", "after/c"]);
    let (keys, ..) = walk(&store, options.with_start_after("after/aa")).await?;
    ensure_eq!(keys, ["after/b", "after/c"]);
    Ok(())
}

/// Where both are given the listing begins behind the later one.
async fn start_after_and_cursor_take_the_larger(store: Subject) -> Outcome {
    fill(&store, "larger/", &["a", "b", "c", "d"]).await?;
    let options = ListOptions::default().with_prefix("larger/").with_limit(2);
    let page = store.list(options.clone()).await?;
    let cursor = page.cursor.ok_or_else(|| super::Failure("no cursor".into()))?;
    let next = options.with_cursor(cursor);
    let (keys, ..) = walk(&store, next.clone().with_start_after("larger/a")).await?;
    ensure_eq!(keys, ["larger/c", "larger/d"]);
    let (keys, ..) = walk(&store, next.with_start_after("larger/c")).await?;
    ensure_eq!(keys, ["larger/d"]);
    Ok(())
}

/// A cursor is a place, not a snapshot.
async fn later_inserts_behind_the_cursor_appear(store: Subject) -> Outcome {
    fill(&store, "later/", &["a", "c"]).await?;
    let options = ListOptions::default().with_prefix("later/").with_limit(1);
    let page = store.list(options.clone()).await?;
    fill(&store, "later/", &["b", "0"]).await?;
    let (keys, ..) = walk(&store, options.with_cursor(page.cursor.unwrap_or_default())).await?;
    ensure_eq!(keys, ["later/b", "later/c"]);
    Ok(())
}

/// HTTP and custom metadata are empty unless asked for.
async fn metadata_comes_when_included(store: Subject) -> Outcome {
    let options = PutOptions::default().with_content_type("text/x-test").with_custom("a", "b");
    drop(store.put(&key("include/a"), "x".into(), options.clone()).await?);
    let plain = store.list(ListOptions::default().with_prefix("include/")).await?;
    ensure_eq!((plain.objects[0].http.content_type.as_deref(), plain.objects[0].custom.len()), (None, 0));
    let full = store.list(ListOptions::default().with_prefix("include/").with_metadata()).await?;
    ensure_eq!((&full.objects[0].http, &full.objects[0].custom), (&options.http, &options.custom));
    Ok(())
}

/// 1 to 1,000 (10022).
async fn limits_are_10022(store: Subject) -> Outcome {
    for limit in [0, 1001] {
        let refused = store.list(ListOptions::default().with_limit(limit)).await;
        ensure_eq!(fault(refused)?, (ErrorKind::InvalidListLimit, Some(10022)));
    }
    Ok(())
}

/// The convenience reads page after page.
async fn list_all_walks_every_page(store: Subject) -> Outcome {
    use futures_util::TryStreamExt;
    fill(&store, "all/", &["a", "b", "c", "d", "e"]).await?;
    let listed = store.list_all(ListOptions::default().with_prefix("all/").with_limit(2));
    let keys: Vec<String> = listed.map_ok(|object| object.key.into()).try_collect().await?;
    ensure_eq!(keys, ["all/a", "all/b", "all/c", "all/d", "all/e"]);
    Ok(())
}
