//! Random programs of session objects.

use serde_json::{Value as Json, json};

use super::sql;
use crate::random::Random;

const KEYS: [&str; 10] = ["", "a", "a/b", "a/c", "b", "A", "é", "\u{ffff}", "\u{1F980}", "a\u{0}"];
/// Times of alarms, in milliseconds since 1970: those in the future are far, so that none comes while a program runs.
const TIMES: [i64; 6] = [4_102_444_800_000, 4_102_444_800_001, 7_000_000_000_123, 0, -1, 4_200_000_000_000];
/// Parts that no operation has in an alarm, which would fail and be tried again two seconds later, when the program is over, or remove
/// the sign that it has run; nor in one of two requests, which would end the other one if that has begun. Where an alarm's handler deletes
/// the alarm in a transaction that is rolled back, workerd keeps the alarm, and natively it is over.
const NOT_EVERYWHERE: [&str; 10] = [
    "defer_foreign_keys",
    "fail",
    "abort",
    "panic",
    "delete alarm",
    "delete all",
    "INTO c ",
    "FROM p",
    "p SET",
    "TABLE p",
];
/// Tables that are looked at in the end.
const TABLES: [&str; 11] = ["t", "u", "u2", "w", "p", "c", "log", "f", "copied", "alarms", "sqlite_sequence"];
const TAGS: [&str; 2] = ["one", "two"];
/// Nothing that closes a socket: whether the client answers before it hangs up, and when it is heard, depends on timing.
const MESSAGES: [&str; 8] =
    ["hello", "attach one", "attach two", "attachment", "tags", "broadcast to all", "memory", "fail"];

/// Returns the program of a seed: events of one object.
pub(super) fn program(seed: u64) -> Vec<Json> {
    let mut generator = Generator { random: Random::new(seed), sockets: 0, has_sockets: false };
    generator.has_sockets = generator.random.one_in(5);
    let mut events = Vec::new();
    if !generator.random.one_in(8) {
        events.push(json!([{"op": "try", "do": rows(&sql::schema(&mut generator.random), Vec::new())}]));
    }
    for _ in 0..2 + generator.random.below(5) {
        generator.event(&mut events);
    }
    if generator.sockets > 0 {
        events.push(json!({"hang up": true}));
    }
    events.push(look());
    events
}

/// Returns the event that shows all that an object holds.
pub(super) fn look() -> Json {
    let tables = TABLES.iter().map(|table| rows(&format!("SELECT * FROM {table}"), Vec::new()));
    let names = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '~_cf~_%' ESCAPE '~' \
                 AND name NOT IN ('starts', 'sqlite_sequence', '__miniflare_do_name') ORDER BY name";
    let others = [rows(names, Vec::new()), json!({"op": "entries"}), json!({"op": "alarm at"})];
    others.into_iter().chain(tables).map(|operation| json!({"op": "try", "do": operation})).collect()
}

fn rows(sql: &str, values: Vec<Json>) -> Json {
    json!({"op": "rows", "sql": sql, "values": values})
}

struct Generator {
    random: Random,
    /// Number of sockets that the program has opened so far.
    sockets: usize,
    /// Whether it opens any.
    has_sockets: bool,
}

impl Generator {
    /// Adds an event, and those that follow from it.
    fn event(&mut self, events: &mut Vec<Json>) {
        match self.random.below(if self.has_sockets { 30 } else { 20 }) {
            0 => events.push(json!({"evict": true})),
            1 => self.alarm(events),
            2 => {
                let requests: Vec<Json> = (0..2).map(|_| self.harmless(3).into()).collect();
                events.push(json!({"together": requests}));
            }
            20..23 => {
                self.sockets += 1;
                events.push(json!({"connect": self.random.pick(&TAGS)}));
            }
            23..30 => {
                let socket = self.random.below(self.sockets.max(1));
                events.push(json!({"send": [socket, self.random.pick(&MESSAGES)]}));
            }
            _ => {
                let count = 1 + self.random.below(7);
                let mut operations = self.operations(count, 0);
                // Natively an abort undoes the deletion, as it does every write of the turn; in workerd the files are gone.
                if operations.iter().any(|operation| operation.to_string().contains("delete all")) {
                    operations
                        .retain(|operation| !["abort", "panic"].iter().any(|end| operation.to_string().contains(end)));
                }
                events.push(operations.into());
            }
        }
    }

    /// Adds an event that removes what earlier alarms have noted and sets one which is due at once, and another event that waits for it.
    fn alarm(&mut self, events: &mut Vec<Json>) {
        let inner = self.harmless(2);
        events.push(json!([
            {"op": "try", "do": rows("DELETE FROM alarms", Vec::new())},
            {"op": "put", "key": "in the alarm", "value": inner},
            {"op": "set alarm", "in": -1000},
        ]));
        events.push(json!({"alarms": 1}));
    }

    /// Operations that neither wait nor fail, and leave the object in memory.
    fn harmless(&mut self, count: usize) -> Vec<Json> {
        let mut operations = self.operations(count, 1);
        operations.retain(|operation| {
            let text = operation.to_string();
            !NOT_EVERYWHERE.iter().any(|part| text.contains(part))
        });
        operations.into_iter().map(tried).collect()
    }

    fn operations(&mut self, count: usize, depth: usize) -> Vec<Json> {
        (0..count).map(|_| self.operation(depth)).collect()
    }

    /// An operation, whose error its event catches in most cases.
    fn operation(&mut self, depth: usize) -> Json {
        let operation = self.plain(depth);
        if self.random.one_in(12) { operation } else { tried(operation) }
    }

    fn plain(&mut self, depth: usize) -> Json {
        match self.random.below(100) {
            0..44 => {
                let (sql, values) = sql::script(&mut self.random);
                let op = *self.random.pick(&["rows", "rows", "rows", "rows", "rows", "one", "next"]);
                json!({"op": op, "sql": sql, "values": values})
            }
            44..66 => self.key_value(),
            66..76 if depth < 3 => {
                let count = 1 + self.random.below(3);
                json!({"op": "transact", "do": self.operations(count, depth + 1)})
            }
            76..79 => json!({"op": "set alarm at", "at": self.random.pick(&TIMES)}),
            79..82 => json!({"op": "alarm at"}),
            82 => json!({"op": "delete alarm"}),
            83..85 => json!({"op": "delete all"}),
            85..88 if depth == 0 => json!({"op": "durable"}),
            88..90 => json!({"op": "fail", "text": "boom"}),
            90 => json!({"op": "abort", "text": "aborted on purpose"}),
            91 if self.random.one_in(2) => json!({"op": "panic"}),
            92 if depth == 0 => json!({"op": "block", "ms": 1, "fails": self.random.one_in(3)}),
            93 => json!({"op": "tell", "text": "told"}),
            94 => json!({"op": "sockets"}),
            95 => json!({"op": "socket tags"}),
            _ => json!({"op": "memory"}),
        }
    }

    fn key_value(&mut self) -> Json {
        let key = *self.random.pick(&KEYS);
        match self.random.below(10) {
            0..4 => json!({"op": "put", "key": key, "value": self.json()}),
            4..6 => json!({"op": "get", "key": key}),
            6 => json!({"op": "delete", "key": key}),
            _ => self.list(),
        }
    }

    fn list(&mut self) -> Json {
        let mut list = json!({"op": *self.random.pick(&["list", "entries"])});
        for (option, times) in [("start", 4), ("startAfter", 5), ("end", 4), ("prefix", 3)] {
            if self.random.one_in(times) {
                list[option] = json!(self.random.pick(&KEYS));
            }
        }
        if self.random.one_in(3) {
            list["reverse"] = json!(true);
        }
        if self.random.one_in(4) {
            list["limit"] = json!(self.random.below(4));
        }
        list
    }

    fn json(&mut self) -> Json {
        match self.random.below(4) {
            0 => json!({"a": [sql::value(&mut self.random), {"b": sql::value(&mut self.random)}]}),
            1 => json!(9_007_199_254_740_993_u64),
            _ => sql::value(&mut self.random),
        }
    }
}

/// An operation whose error is part of what it gives.
fn tried(operation: Json) -> Json {
    json!({"op": "try", "do": operation})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_program_and_programs_differ() {
        assert_eq!(program(7), program(7));
        let all: std::collections::BTreeSet<String> = (0..500).map(|seed| json!(program(seed)).to_string()).collect();
        assert_eq!(all.len(), 500);
    }

    #[test]
    fn programs_have_every_kind_of_event_and_operation() {
        let all: String = (0..3000).map(|seed| json!(program(seed)).to_string()).collect();
        let events =
            ["evict", "together", "alarms", "connect", "send", "hang up"].map(|event| format!("{{\"{event}\":"));
        let operations =
            ["rows", "one", "next", "entries", "list", "put", "get", "delete", "transact", "set alarm at", "alarm at"];
        let more =
            ["delete alarm", "delete all", "durable", "fail", "abort", "panic", "block", "tell", "sockets", "memory"];
        let operations = operations.iter().chain(&more).map(|op| format!("\"op\":\"{op}\""));
        let missing: Vec<String> =
            events.into_iter().chain(operations).filter(|part| !all.contains(part.as_str())).collect();
        assert!(missing.is_empty(), "no program has {missing:?}");
    }
}
