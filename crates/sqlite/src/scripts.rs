//! The splitter against SQLite's own tail, over random scripts: the splitter cuts scripts where there is no SQLite to ask, on
//! wasm32 and for D1 from outside. `ISOBAR_SQL_SCRIPTS` is the number of scripts. Default: 5,000.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use rusqlite::Connection;

use crate::{prepared, script};

/// Tables whose columns have the names that a splitter trips over.
const TABLES: &str =
    "CREATE TABLE t (a, begin, end, trigger, temp, explain, plan, \"x;y\", [z;w]); CREATE TABLE log (x)";

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// Every `~` becomes some kind of space, every `@` a column, every `#` a value.
    fn fill(&mut self, template: &str) -> String {
        const SPACES: [&str; 12] = [
            " ",
            " ",
            " ",
            " ",
            "\n",
            "\t",
            "\r\n",
            " /* ; */ ",
            " -- ; 'end\n",
            "/*/ end; */",
            "\u{feff} ",
            "/* begin; */",
        ];
        const COLUMNS: [&str; 12] = [
            "a", "begin", "end", "trigger", "temp", "explain", "plan", "\"x;y\"", "[z;w]", "`begin`", "\"end\"",
            "BEGIN",
        ];
        const VALUES: [&str; 14] = [
            "1",
            "'x;'",
            "'it''s; END'",
            "NULL",
            "x'3b'",
            "1.5e3",
            "0x1f",
            "CASE WHEN 1 THEN 2 END",
            "case 1 when 1 then ';' end",
            "(SELECT 'end;')",
            "-1",
            "'BEGIN'",
            "1 /* end */",
            "'unusual \u{e9}; \u{1f980}'",
        ];
        let mut filled = String::new();
        for char in template.chars() {
            match char {
                '~' => filled.push_str(self.of(&SPACES)),
                '@' => filled.push_str(self.of(&COLUMNS)),
                '#' => filled.push_str(self.of(&VALUES)),
                other => filled.push(other),
            }
        }
        filled
    }

    fn trigger(&mut self, name: usize) -> String {
        let kind = self.of(&[
            "CREATE~TRIGGER",
            "create~temp~trigger",
            "CREATE~TEMPORARY~TRIGGER",
            "Create~Trigger~IF NOT EXISTS",
        ]);
        let when = self.of(&[
            "AFTER INSERT ON t",
            "BEFORE UPDATE OF~@~ON t",
            "AFTER INSERT ON t~FOR EACH ROW",
            "AFTER INSERT ON t~WHEN NEW.@~IS #",
        ]);
        let mut trigger = format!("{kind}~g{name}~{when}~BEGIN~");
        for _ in 0..=self.below(3) {
            trigger.push_str(self.of(&[
                "INSERT INTO log VALUES~(NEW.@);~",
                "SELECT~NEW.@, #;~",
                "SELECT @~FROM t;~",
                "UPDATE t SET @ = NEW.@~WHERE @ = #;~",
                "DELETE FROM log~WHERE x IN (SELECT @~FROM t);~",
                "SELECT CASE WHEN NEW.@~THEN # ELSE # END;~",
                "SELECT NEW.end;end;~",
            ]));
        }
        if trigger.ends_with("end;~") {
            trigger.truncate(trigger.len() - 5);
        }
        trigger.push_str(self.of(&["END", "end", "eNd~"]));
        trigger
    }

    fn statement(&mut self, name: usize) -> String {
        let template = match self.below(12) {
            0..=3 => self.trigger(name),
            4 => format!("EXPLAIN~{}", self.trigger(name)),
            5 => format!("EXPLAIN~QUERY~PLAN~{}", self.trigger(name)),
            6 => format!("CREATE~{}TABLE~n{name}~(trigger, @~DEFAULT #, begin_)", self.of(&["", "TEMP~"])),
            7 => format!("CREATE~VIEW~v{name}~AS SELECT @, # AS trigger~FROM t"),
            8 => "INSERT INTO t (@)~VALUES (#)".to_owned(),
            9 => self
                .of(&["SELECT $a(;), #", "SELECT :end, ?1,~?, $b::c", "SELECT @@ FROM t", "EXPLAIN~SELECT #", ""])
                .to_owned(),
            10 => "SELECT #,~@~AS end~FROM t".to_owned(),
            _ => "UPDATE t SET @ = CASE @ WHEN # THEN # END".to_owned(),
        };
        self.fill(&template)
    }

    fn script(&mut self) -> String {
        let mut script = String::new();
        for name in 0..=self.below(4) {
            script.push_str(&self.statement(name));
            let end = self.of(&[";", ";~", ";;~", "~;~", ";~--~end;\n", ";~/* last; */"]).to_owned();
            script.push_str(&self.fill(&end));
        }
        // Some end without a semicolon, and some are damaged.
        if self.below(4) == 0 {
            let statement = self.statement(9);
            script.push_str(&statement);
        }
        if self.below(5) == 0 {
            let places: Vec<usize> = script.char_indices().map(|(at, _)| at).collect();
            let at = places[self.below(places.len())];
            let damage = self.of(&["'", "\"", ";", "/*", "--", "[", "]", " end ", " begin ", ";end;", "", "*/", "`"]);
            script.replace_range(at..at + script[at..].chars().next().unwrap().len_utf8(), damage);
        }
        script
    }
}

/// The ends of a script's statements as SQLite sees them, up to the first wrong one, and where that one begins.
fn ends(connection: &Connection, script: &str) -> (Vec<usize>, Option<usize>) {
    let mut at = 0;
    let mut ends = Vec::new();
    while at < script.len() {
        let Ok((statement, read)) = prepared::prepare(connection, &script[at..]) else { return (ends, Some(at)) };
        assert!(read > 0, "{script:?}");
        at += read;
        if let Some(mut statement) = statement {
            ends.push(at);
            // What cannot run was a statement all the same.
            while statement.step().unwrap_or(false) {}
        }
    }
    (ends, None)
}

#[test]
fn the_splitter_ends_statements_where_sqlite_does() {
    let count = std::env::var("ISOBAR_SQL_SCRIPTS").map_or(5_000, |count| count.parse().unwrap());
    let fresh = || {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        connection
    };
    let mut connection = fresh();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut whole = 0;
    let mut statements = 0;
    for _ in 0..count {
        let script = random.script();
        connection.execute_batch("BEGIN").unwrap();
        let (sqlite, wrong) = ends(&connection, &script);
        match connection.is_autocommit() {
            // Damage may have made an END of its own, which commits.
            true => connection = fresh(),
            false => connection.execute_batch("ROLLBACK").unwrap(),
        }
        let ours: Vec<_> = script::pieces(&script).filter(|piece| piece.has_code).map(|piece| piece.end).collect();
        match wrong {
            None => {
                whole += 1;
                assert_eq!(ours, sqlite, "{script:?}");
            }
            // SQLite stops at the error: up to there they agree, and the wrong one is no part of those before.
            Some(at) => {
                assert!(ours.starts_with(&sqlite) && ours.len() >= sqlite.len(), "{ours:?} {sqlite:?} {at} {script:?}");
            }
        }
        statements += sqlite.len();
    }
    assert!(whole > count / 4 && statements > count, "{whole} scripts of {count} are right: {statements} statements");
}
