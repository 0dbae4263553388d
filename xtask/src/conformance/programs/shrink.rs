//! Shrinking a program that fails, by what it can do without.

use serde_json::Value as Json;

/// Largest number of shorter programs that are tried.
const TRIES: usize = 300;
/// Fields of events and operations that hold operations.
const INNER: [&str; 2] = ["do", "together"];

/// Returns the program without all that it fails without.
pub(super) fn shrink(program: &[Json], mut fails: impl FnMut(&[Json]) -> bool) -> Vec<Json> {
    let mut shortest = program.to_vec();
    let mut position = 0;
    for _ in 0..TRIES {
        let mut left = position;
        let Some(shorter) = without(&shortest, &mut left) else { break };
        match fails(&shorter) {
            true => shortest = shorter,
            false => position += 1,
        }
    }
    shortest
}

/// Returns the list without an event or operation, counted in their order with those within others; `None` beyond the last.
fn without(list: &[Json], position: &mut usize) -> Option<Vec<Json>> {
    for (index, item) in list.iter().enumerate() {
        let mut shorter = list.to_vec();
        if *position == 0 {
            shorter.remove(index);
            return Some(shorter);
        }
        *position -= 1;
        if let Some(smaller) = within(item, position) {
            shorter[index] = smaller;
            return Some(shorter);
        }
    }
    None
}

fn within(item: &Json, position: &mut usize) -> Option<Json> {
    match item {
        Json::Array(list) => without(list, position).map(Json::Array),
        Json::Object(fields) => INNER.iter().find_map(|name| {
            let smaller = within(fields.get(*name)?, position)?;
            let mut changed = item.clone();
            changed[*name] = smaller;
            Some(changed)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let program = [
            json!([{"op": "a"}, {"op": "try", "do": {"op": "transact", "do": [{"op": "b"}, {"op": "bad"}]}}]),
            json!({"evict": true}),
            json!([{"op": "c"}]),
        ];
        let shortest = shrink(&program, |program| json!(program).to_string().contains("bad"));
        assert_eq!(shortest, [json!([{"op": "try", "do": {"op": "transact", "do": [{"op": "bad"}]}}])]);
    }
}
