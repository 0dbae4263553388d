//! SQL, key-value, transactions.

use isobar_testkit::{Case, Failure, cases, ensure, ensure_eq};
use serde_json::{Value as Json, json};

use super::{Outcome, Subject, act, refused};
use crate::ErrorKind;

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "sql" => {
            rows_read_as_values,
            several_statements_bind_the_last,
            wrong_sql_has_the_error_text_of_workerd,
            sql_that_workerd_forbids_is_refused,
            the_database_has_a_size,
            tables_can_be_altered,
            values_are_limited_to_four_megabytes,
            text_that_is_not_utf8_reads_with_replacement_characters,
            functions_are_those_that_workerd_allows,
            delete_and_update_take_order_and_limit,
            tables_of_sqlite_alone_are_unknown,
            names_and_offsets_are_those_of_the_statement_as_written,
            changes_count_what_the_object_has_written,
            settings_end_with_the_instance_and_with_what_is_stored,
        }
        "kv" => {
            keys_are_put_got_and_deleted,
            lists_have_bounds_prefix_and_order,
            wrong_lists_are_refused,
            delete_all_empties_everything,
            delete_all_is_refused_in_a_transaction,
        }
        "transactions" => {
            a_failing_transaction_is_undone,
            transactions_nest,
            a_failing_event_keeps_what_it_wrote_before,
            a_broken_deferred_constraint_resets_and_undoes,
        }
    }
}

fn sql(sql: &str) -> Json {
    json!({"op": "sql", "sql": sql})
}

/// Columns may have the same name, and are known without a row.
async fn rows_read_as_values(sessions: Subject) -> Outcome {
    let got = act(
        &sessions,
        "sql/rows",
        json!([
            {"op": "sql", "sql": "SELECT ? AS a, ? AS b, ? AS b, NULL AS c", "values": [1, "text é", 1.5]},
            sql("SELECT 9007199254740993 AS big WHERE 0"),
            {"op": "sql", "sql": "SELECT ?2 AS x", "values": ["one", "two"]},
        ]),
    )
    .await?;
    ensure_eq!(got[0], json!({"columns": ["a", "b", "b", "c"], "rows": [[1, "text é", 1.5, null]]}));
    ensure_eq!(got[1], json!({"columns": ["big"], "rows": []}));
    ensure_eq!(got[2]["rows"], json!([["two"]]));
    Ok(())
}

/// Earlier statements take no parameters; they stay done where a later one fails and the object catches that, as in workerd.
async fn several_statements_bind_the_last(sessions: Subject) -> Outcome {
    let got = act(
        &sessions,
        "sql/several",
        json!([
            sql("CREATE TABLE t (a); INSERT INTO t VALUES ('one'); INSERT INTO t VALUES ('two')"),
            {"op": "sql", "sql": "UPDATE t SET a = a || '!'; SELECT a FROM t WHERE a = ?", "values": ["two!"]},
            {"op": "caught", "do": {"op": "sql", "sql": "INSERT INTO t VALUES (?); SELECT 1", "values": ["x"]}},
            sql("SELECT count(*) FROM t"),
            {"op": "caught", "do": sql("INSERT INTO t VALUES ('kept'); INSERT INTO none VALUES (1)")},
            sql("SELECT count(*) FROM t"),
        ]),
    )
    .await?;
    ensure_eq!(got[1]["rows"], json!([["two!"]]));
    ensure!(
        got[2]["error"].as_str().is_some_and(|text| text.contains("only the last statement can have parameters")),
        "{got}"
    );
    ensure_eq!(got[3]["rows"], json!([[2]]));
    ensure!(got[4]["error"].as_str().is_some_and(|text| text.contains("no such table: none")), "{got}");
    // As in workerd: what ran before the failure stays, since the object caught it.
    ensure_eq!(got[5]["rows"], json!([[3]]));
    Ok(())
}

/// The texts are workerd's.
async fn wrong_sql_has_the_error_text_of_workerd(sessions: Subject) -> Outcome {
    let early = "When executing multiple SQL statements in a single call, only the last statement can have parameters.";
    let table = [
        ("SELEC 1", "near \"SELEC\": syntax error at offset 0: SQLITE_ERROR"),
        ("SELECT * FROM nope", "no such table: nope: SQLITE_ERROR"),
        (
            "INSERT INTO u VALUES (1)",
            "UNIQUE constraint failed: u.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
        ),
        ("SELECT ?", "Wrong number of parameter bindings for SQL query."),
        ("SELECT ?; SELECT * FROM nope", early),
        ("SELECT ?; -- c", early),
        ("SELECT 1; -- c", "SQL code did not contain a statement."),
        ("", "SQL code did not contain a statement."),
        ("-- c", "SQL code did not contain a statement."),
        (";", "SQL code did not contain a statement."),
    ];
    act(&sessions, "sql/wrong", json!([sql("CREATE TABLE u (a UNIQUE)"), sql("INSERT INTO u VALUES (1)")])).await?;
    for (code, text) in table {
        ensure_eq!((code, refused(&sessions, "sql/wrong", json!([sql(code)])).await?), (code, text.to_owned()));
    }
    Ok(())
}

/// Transactions, ATTACH, temporary tables, the host's own tables, and PRAGMAs and arguments that workerd does not list.
async fn sql_that_workerd_forbids_is_refused(sessions: Subject) -> Outcome {
    for code in [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "ATTACH ':memory:' AS x",
        "PRAGMA user_version",
        "PRAGMA user_version = 1",
        "PRAGMA journal_mode",
        "PRAGMA table_info",
        "PRAGMA table_info(_cf_KV)",
        "PRAGMA index_xinfo = '_CF_KV'",
        "PRAGMA quick_check(_cf_KV)",
        "SELECT * FROM pragma_foreign_key_check('_cf_KV')",
        "PRAGMA data_version = 1",
        "PRAGMA page_size(4096)",
        "PRAGMA recursive_triggers = maybe",
        "PRAGMA case_sensitive_like = 2",
        "PRAGMA optimize = on",
        "CREATE TABLE _cf_x (a)",
        "CREATE TEMP TABLE x (a)",
        "SELECT sqlite_version()",
        "DROP TABLE _cf_KV",
        "INSERT INTO _cf_KV VALUES ('a', 'b')",
    ] {
        let text = refused(&sessions, "sql/forbidden", json!([sql(code)])).await?;
        let is_told = ["not authorized", "To execute a transaction", "no such table", "prohibited"];
        ensure!(is_told.iter().any(|part| text.contains(part)), "{code}: {text}");
    }
    act(&sessions, "sql/forbidden", json!([{"op": "put", "key": "k", "value": 1}])).await?;
    for (code, text) in [
        ("SELECT 1; SAVEPOINT a", "To execute a transaction, please use the state.storage.transaction() or"),
        ("CREATE TABLE _cf_x (a)", "not authorized: SQLITE_AUTH"),
        ("SELECT * FROM _cf_KV", "access to _cf_KV.key is prohibited: SQLITE_AUTH"),
        ("DELETE FROM _cf_KV", "not authorized: SQLITE_AUTH"),
    ] {
        match act(&sessions, "sql/forbidden", json!([sql(code)])).await {
            Err(error) if error.kind() == ErrorKind::NotAuthorized && error.message().starts_with(text) => {}
            other => return Err(Failure(format!("{code} gave {other:?}, not {text}"))),
        }
    }
    act(
        &sessions,
        "sql/forbidden",
        json!([
            sql("PRAGMA table_list"),
            sql("PRAGMA table_list(_cf_KV)"),
            sql("PRAGMA recursive_triggers = nope"),
            sql("PRAGMA quick_check(1)"),
            sql("SELECT * FROM pragma_optimize('-1')"),
            sql("SELECT sqrt(2)"),
            sql("CREATE VIRTUAL TABLE f USING fts5(a)"),
        ]),
    )
    .await?;
    Ok(())
}

/// ALTER TABLE reads temporary tables on its way, which the authorizer has to let through.
async fn tables_can_be_altered(sessions: Subject) -> Outcome {
    let got = act(&sessions, "sql/alter", json!([
        sql("CREATE TABLE t (a, b); ALTER TABLE t ADD COLUMN c; ALTER TABLE t RENAME COLUMN b TO bb; ALTER TABLE t DROP COLUMN a; ALTER TABLE t RENAME TO u"),
        sql("SELECT * FROM u"),
    ])).await?;
    ensure_eq!(got[1]["columns"], json!(["bb", "c"]));
    Ok(())
}

/// 4,000,000 bytes fit, as a value of SQL and of a key; 9,000,000 do not.
async fn values_are_limited_to_four_megabytes(sessions: Subject) -> Outcome {
    let four = "x".repeat(4_000_000);
    let nine = "x".repeat(9_000_000);
    let insert = |text: &str| json!({"op": "sql", "sql": "INSERT INTO t VALUES (?)", "values": [text]});
    act(
        &sessions,
        "sql/large",
        json!([sql("CREATE TABLE t (a)"), insert(&four), {"op": "put", "key": "k", "value": four}]),
    )
    .await?;
    let got = act(&sessions, "sql/large", json!([sql("SELECT length(a) FROM t"), {"op": "get", "key": "k"}])).await?;
    ensure_eq!(got[0]["rows"], json!([[4_000_000]]));
    ensure!(got[1].as_str().is_some_and(|text| text.len() == 4_000_000));
    for operation in [insert(&nine), json!({"op": "put", "key": "k", "value": nine})] {
        let error = refused(&sessions, "sql/large", json!([operation])).await?;
        ensure!(error.contains("string or blob too big: SQLITE_TOOBIG"), "{error}");
    }
    Ok(())
}

/// One for each sequence that cannot be valid, as in workerd.
async fn text_that_is_not_utf8_reads_with_replacement_characters(sessions: Subject) -> Outcome {
    let query = sql(
        "SELECT CAST(x'61ff62' AS TEXT), CAST(x'f09f92' AS TEXT), CAST(x'c0af' AS TEXT), CAST(x'eda080' AS TEXT), CAST(x'e28261' AS TEXT)",
    );
    let got = act(&sessions, "sql/not utf-8", json!([query])).await?;
    let three = "\u{fffd}".repeat(3);
    ensure_eq!(got[0]["rows"], json!([["a\u{fffd}b", "\u{fffd}", "\u{fffd}\u{fffd}", three, "\u{fffd}a"]]));
    Ok(())
}

/// One that is refused is `not authorized`, one that is not there `no such function`.
async fn functions_are_those_that_workerd_allows(sessions: Subject) -> Outcome {
    for call in ["json_pretty('[1]')", "power(2, 3)", "log10(100)", "sqlite_source_id()", "subtype(1)"] {
        let text = refused(&sessions, "sql/functions", json!([sql(&format!("SELECT {call}"))])).await?;
        let name = call.split('(').next().unwrap_or_default();
        ensure_eq!(text, format!("not authorized to use function: {name} at offset 7: SQLITE_ERROR"));
    }
    let text = refused(&sessions, "sql/functions", json!([sql("SELECT soundex('a')")])).await?;
    ensure_eq!(text, "no such function: soundex at offset 7: SQLITE_ERROR");
    let allowed = sql(
        "SELECT CAST(pow(2, 3) AS INTEGER), iif(1, 2, 3), concat('a', 'b'), octet_length('a'), json_set('{}', '$.a', 1)",
    );
    let got = act(&sessions, "sql/functions", json!([allowed])).await?;
    ensure_eq!(got[0]["rows"], json!([[8, 2, "ab", 1, "{\"a\":1}"]]));
    Ok(())
}

async fn delete_and_update_take_order_and_limit(sessions: Subject) -> Outcome {
    let got = act(
        &sessions,
        "sql/limited",
        json!([
            sql("CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t (b) VALUES (1), (2), (3), (4), (5), (6)"),
            sql("DELETE FROM t ORDER BY a DESC LIMIT 1"),
            {"op": "sql", "sql": "UPDATE t SET b = b + ? WHERE a > ? ORDER BY b DESC LIMIT ?", "values": [10, 1, 2]},
            sql("DELETE FROM t ORDER BY a LIMIT 1 OFFSET 1; UPDATE t SET b = 9 ORDER BY a LIMIT 1"),
            sql("SELECT a, b FROM t ORDER BY a"),
            sql("DELETE FROM t WHERE a > 1 RETURNING a ORDER BY a LIMIT 1"),
            sql("SELECT count(*) FROM t"),
        ]),
    )
    .await?;
    ensure_eq!(got[4]["rows"], json!([[1, 9], [3, 3], [4, 14], [5, 15]]));
    ensure_eq!((&got[5]["rows"], &got[6]["rows"]), (&json!([[3]]), &json!([[3]])));
    for (code, text) in [
        ("DELETE FROM t ORDER BY a", "ORDER BY without LIMIT on DELETE: SQLITE_ERROR"),
        ("DELETE FROM none LIMIT 1", "no such table: none: SQLITE_ERROR"),
        ("UPDATE t SET b = 1 WHERE nope = 1 LIMIT 1", "no such column: nope at offset 25: SQLITE_ERROR"),
    ] {
        ensure_eq!((code, refused(&sessions, "sql/limited", json!([sql(code)])).await?), (code, text.to_owned()));
    }
    let own = refused(&sessions, "sql/limited", json!([sql("DELETE FROM _cf_KV LIMIT 1")])).await?;
    ensure!(["not authorized", "no such table", "prohibited"].iter().any(|part| own.contains(part)), "{own}");
    Ok(())
}

async fn tables_of_sqlite_alone_are_unknown(sessions: Subject) -> Outcome {
    for table in ["dbstat", "sqlite_stmt", "generate_series(1, 3)"] {
        let text = refused(&sessions, "sql/unknown", json!([sql(&format!("SELECT * FROM {table}"))])).await?;
        let name = table.split('(').next().unwrap_or_default();
        ensure_eq!(text, format!("no such table: {name}: SQLITE_ERROR"));
    }
    let got = act(&sessions, "sql/unknown", json!([sql("SELECT value FROM json_each('[1, 2]')")])).await?;
    ensure_eq!(got[0]["rows"], json!([[1], [2]]));
    Ok(())
}

/// An integer is bound exactly, and neither a column's name nor an error shows how.
async fn names_and_offsets_are_those_of_the_statement_as_written(sessions: Subject) -> Outcome {
    let query = json!({"op": "sql", "sql": "SELECT ?, ?2 + ?, ? AS d", "values": [1, 2, 3, 4]});
    let got = act(&sessions, "sql/as written", json!([query])).await?;
    ensure_eq!(got[0], json!({"columns": ["?", "?2 + ?", "d"], "rows": [[1, 5, 4]]}));
    for (code, text) in [
        ("SELECT ?, nope FROM sqlite_master", "no such column: nope at offset 10: SQLITE_ERROR"),
        ("SELECT 1; SELECT ?, nope FROM sqlite_master", "no such column: nope at offset 10: SQLITE_ERROR"),
        ("SELECT nope, ? FROM sqlite_master", "no such column: nope at offset 7: SQLITE_ERROR"),
    ] {
        let query = json!({"op": "sql", "sql": code, "values": [7]});
        ensure_eq!((code, refused(&sessions, "sql/as written", json!([query])).await?), (code, text.to_owned()));
    }
    Ok(())
}

/// Also over the end of the first turn; an alarm is a row that is inserted once and then updated, and a key is one, too.
async fn changes_count_what_the_object_has_written(sessions: Subject) -> Outcome {
    let seen = || sql("SELECT changes(), last_insert_rowid()");
    let insert = |id: i64| sql(&format!("INSERT INTO t VALUES ({id}, 1), ({}, 2)", id + 1));
    let alarm = |ms: i64| json!({"op": "set alarm", "in": ms});
    let create = sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    let steps = [
        (vec![create.clone(), insert(41)], [2, 42]),
        (vec![], [2, 42]),
        (vec![json!({"op": "put", "key": "k", "value": 1})], [1, 42]),
        (vec![insert(51), alarm(3_600_000)], [1, 1]),
        (vec![insert(61), alarm(7_200_000)], [1, 62]),
        (vec![sql("UPDATE t SET a = 3"), sql("CREATE TABLE u (a)")], [6, 62]),
        (vec![json!({"op": "delete alarm"})], [1, 62]),
        (vec![sql("UPDATE t SET a = 4"), json!({"op": "delete alarm"})], [6, 62]),
        (vec![insert(71), alarm(3_600_000)], [1, 72]),
        (vec![sql("UPDATE t SET a = 3 WHERE id = 1")], [0, 72]),
        (vec![json!({"op": "delete all"})], [0, 0]),
        (vec![create.clone(), insert(72)], [2, 73]),
        (vec![json!({"op": "delete all"}), create, sql("INSERT INTO t VALUES (72, 1)")], [1, 72]),
        (vec![], [1, 72]),
        (vec![alarm(3_600_000)], [1, 1]),
    ];
    for (number, (mut operations, want)) in steps.into_iter().enumerate() {
        operations.push(seen());
        let got = act(&sessions, "sql/changes", operations.into()).await?;
        let last = got.as_array().and_then(|given| given.last()).map(|last| last["rows"].clone());
        ensure_eq!((number, last), (number, Some(json!([want]))));
    }
    Ok(())
}

/// A reset, like hibernation, brings a new connection, and so does the deletion of everything.
async fn settings_end_with_the_instance_and_with_what_is_stored(sessions: Subject) -> Outcome {
    let name = "sql/settings";
    let set = sql("PRAGMA recursive_triggers = ON");
    let seen = sql("SELECT (SELECT recursive_triggers FROM pragma_recursive_triggers), last_insert_rowid()");
    let create = sql("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    act(&sessions, name, json!([create, {"op": "put", "key": "k", "value": 1}])).await?;
    let before = act(&sessions, name, json!([set, sql("INSERT INTO t VALUES (9)"), seen])).await?;
    ensure_eq!(before[2]["rows"], json!([[1, 9]]));
    refused(&sessions, name, json!([{"op": "abort", "text": "aborted"}])).await?;
    let after = act(&sessions, name, json!([seen, sql("SELECT count(*) FROM t")])).await?;
    // The kit's object writes a row when it starts.
    ensure_eq!((&after[0]["rows"][0][0], &after[1]["rows"]), (&json!(0), &json!([[1]])));
    ensure!(after[0]["rows"][0][1] != json!(9), "{after}");
    act(&sessions, name, json!([sql("PRAGMA foreign_keys = OFF")])).await?;
    act(&sessions, name, json!([set, {"op": "delete all"}])).await?;
    let last = act(&sessions, name, json!([seen, sql("PRAGMA foreign_keys")])).await?;
    ensure_eq!((&last[0]["rows"][0][0], &last[1]["rows"]), (&json!(0), &json!([[1]])));
    Ok(())
}

async fn the_database_has_a_size(sessions: Subject) -> Outcome {
    let got = act(&sessions, "sql/size", json!([{"op": "size"}])).await?;
    ensure!(got[0].as_u64().is_some_and(|size| size > 0 && size % 4096 == 0), "{got}");
    Ok(())
}

async fn keys_are_put_got_and_deleted(sessions: Subject) -> Outcome {
    let value = json!({"a": [1, 2.5, null, "é"]});
    let got = act(
        &sessions,
        "kv/keys",
        json!([
            {"op": "get", "key": "k"}, {"op": "put", "key": "k", "value": value}, {"op": "get", "key": "k"},
            {"op": "delete", "key": "k"}, {"op": "delete", "key": "k"}, {"op": "get", "key": "k"},
        ]),
    )
    .await?;
    ensure_eq!(got, json!([null, null, value, true, false, null]));
    Ok(())
}

async fn lists_have_bounds_prefix_and_order(sessions: Subject) -> Outcome {
    let keys = ["a", "b", "c", "d", "e", "Z", "é", "\u{ffff}", "\u{1F980}"];
    let puts: Vec<Json> = keys.iter().map(|key| json!({"op": "put", "key": key, "value": 1})).collect();
    act(&sessions, "kv/list", puts.into()).await?;
    let table = [
        (json!({}), json!(["Z", "a", "b", "c", "d", "e", "é", "\u{ffff}", "\u{1F980}"])),
        (json!({"start": "b", "end": "d"}), json!(["b", "c"])),
        (json!({"start": "b", "end": "d", "reverse": true}), json!(["c", "b"])),
        (json!({"startAfter": "d", "limit": 2}), json!(["e", "é"])),
        (json!({"prefix": "a"}), json!(["a"])),
        (json!({"prefix": "b", "start": "c"}), json!([])),
        (json!({"end": ""}), json!([])),
        (json!({"start": "", "limit": 1}), json!(["Z"])),
    ];
    for (options, want) in table {
        let mut operation = options.clone();
        operation["op"] = "list".into();
        ensure_eq!((&options, &act(&sessions, "kv/list", json!([operation])).await?[0]), (&options, &want));
    }
    Ok(())
}

async fn wrong_lists_are_refused(sessions: Subject) -> Outcome {
    let both = refused(&sessions, "kv/wrong", json!([{"op": "list", "start": "a", "startAfter": "b"}])).await?;
    ensure_eq!(both, "list() cannot be called with both start and startAfter values.");
    let none = refused(&sessions, "kv/wrong", json!([{"op": "list", "limit": 0}])).await?;
    ensure_eq!(none, "List limit must be positive.");
    Ok(())
}

async fn delete_all_empties_everything(sessions: Subject) -> Outcome {
    let got = act(&sessions, "kv/all", json!([
        sql("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p(id)); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)"),
        sql("CREATE VIEW v AS SELECT 1; CREATE VIRTUAL TABLE f USING fts5(a)"),
        {"op": "put", "key": "k", "value": 1}, {"op": "set alarm", "in": 3_600_000},
        {"op": "delete all"},
        {"op": "get", "key": "k"}, {"op": "alarm"},
        sql("SELECT count(*) FROM sqlite_master WHERE name NOT LIKE '~_cf~_%' ESCAPE '~'"),
        sql("CREATE TABLE p (a)"),
    ])).await?;
    ensure_eq!((&got[5], &got[6], &got[7]["rows"]), (&Json::Null, &Json::Null, &json!([[0]])));
    Ok(())
}

/// It could not be undone with the rest: the transaction goes on as it was.
async fn delete_all_is_refused_in_a_transaction(sessions: Subject) -> Outcome {
    let got = act(
        &sessions,
        "kv/all in a transaction",
        json!([
            {"op": "put", "key": "k", "value": 1},
            {"op": "transaction", "do": [{"op": "caught", "do": {"op": "delete all"}}, {"op": "put", "key": "l", "value": 2}]},
            {"op": "caught", "do": {"op": "transaction", "do": [{"op": "delete all"}]}},
            {"op": "list"},
        ]),
    )
    .await?;
    ensure_eq!(got[2], json!({"error": "deleteAll() cannot be called inside a transaction"}));
    ensure_eq!(got[3], json!(["k", "l"]));
    Ok(())
}

async fn a_failing_transaction_is_undone(sessions: Subject) -> Outcome {
    let got = act(&sessions, "tx/undone", json!([
        {"op": "put", "key": "before", "value": 1},
        {"op": "caught", "do": {"op": "transaction", "do": [
            {"op": "put", "key": "in", "value": 1}, sql("CREATE TABLE t (a)"), {"op": "set alarm", "in": 3_600_000}, {"op": "fail", "text": "tx boom"}]}},
        {"op": "get", "key": "before"}, {"op": "get", "key": "in"}, {"op": "alarm"},
        {"op": "caught", "do": sql("SELECT * FROM t")},
    ])).await?;
    ensure_eq!(got[1], json!({"error": "tx boom"}));
    ensure_eq!((&got[2], &got[3], &got[4]), (&json!(1), &Json::Null, &Json::Null));
    ensure!(got[5]["error"].is_string(), "{got}");
    Ok(())
}

async fn transactions_nest(sessions: Subject) -> Outcome {
    let got = act(&sessions, "tx/nest", json!([
        {"op": "transaction", "do": [
            {"op": "put", "key": "outer", "value": 1},
            {"op": "caught", "do": {"op": "transaction", "do": [{"op": "put", "key": "inner", "value": 1}, {"op": "fail", "text": "x"}]}}]},
        {"op": "get", "key": "outer"}, {"op": "get", "key": "inner"},
    ])).await?;
    ensure_eq!((&got[1], &got[2]), (&json!(1), &Json::Null));
    Ok(())
}

async fn a_failing_event_keeps_what_it_wrote_before(sessions: Subject) -> Outcome {
    let error = refused(
        &sessions,
        "tx/keeps",
        json!([{"op": "put", "key": "k", "value": 1}, {"op": "fail", "text": "fetch boom"}]),
    )
    .await?;
    ensure_eq!(error, "fetch boom");
    ensure_eq!(act(&sessions, "tx/keeps", json!([{"op": "get", "key": "k"}])).await?, json!([1]));
    Ok(())
}

async fn a_broken_deferred_constraint_resets_and_undoes(sessions: Subject) -> Outcome {
    act(&sessions, "tx/deferred", json!([sql("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)"), {"op": "memory"}])).await?;
    let error = match act(&sessions, "tx/deferred", json!([sql("INSERT INTO c VALUES (1)")])).await {
        Ok(given) => return Err(Failure(format!("a broken constraint was committed: {given}"))),
        Err(error) => error,
    };
    ensure_eq!(error.kind(), ErrorKind::Reset);
    let error = error.to_string();
    ensure!(error.starts_with("Durable Object was reset and rolled back to its last known good state because the application left the database in a state where constraints were violated: FOREIGN KEY constraint failed"), "{error}");
    let got = act(&sessions, "tx/deferred", json!([sql("SELECT count(*) FROM c"), {"op": "memory"}])).await?;
    ensure_eq!((&got[0]["rows"], &got[1]), (&json!([[0]]), &json!(1)));
    Ok(())
}
