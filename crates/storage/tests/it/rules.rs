//! The listing against its simplest definition, on random keys.

use std::collections::BTreeSet;

use isobar_storage::memory::MemoryStore;
use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

/// Returns a delimited listing by its definition, without pages.
fn expected(keys: &BTreeSet<String>, prefix: &str, delimiter: &str, after: &str) -> BTreeSet<String> {
    let matching = keys.iter().filter(|key| key.starts_with(prefix) && key.as_str() > after);
    let entry = |key: &String| match key[prefix.len()..].find(delimiter) {
        Some(at) if !delimiter.is_empty() => key[..prefix.len() + at + delimiter.len()].to_owned(),
        _ => key.clone(),
    };
    matching.map(entry).collect()
}

proptest! {
    #[test]
    fn pages_of_any_size_join_to_the_definition(
        keys in prop::collection::btree_set("[ab/é]{1,6}", 0..30),
        prefix in "[ab/]{0,2}", delimiter in "(/|a|b/)?", after in "[ab/]{0,3}", limit in 1usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            for key in &keys {
                store.write(&Key::new(key).unwrap(), "x").await.unwrap();
            }
            let mut options = ListOptions::default()
                .with_prefix(&prefix).with_delimiter(&delimiter).with_start_after(&after).with_limit(limit);
            let mut got = Vec::new();
            loop {
                let page = store.list(options.clone()).await.unwrap();
                prop_assert!(page.objects.len() + page.prefixes.len() <= limit);
                got.extend(page.objects.iter().map(|object| object.key.to_string()).chain(page.prefixes));
                match page.cursor {
                    Some(cursor) => options = options.with_cursor(cursor),
                    None => break,
                }
            }
            let unique: BTreeSet<String> = got.iter().cloned().collect();
            prop_assert_eq!(unique.len(), got.len());
            prop_assert_eq!(unique, expected(&keys, &prefix, &delimiter, &after));
            Ok(())
        })?;
    }
}
