//! Words that Postgres does not understand, or understands in another way.

use std::collections::BTreeSet;

use super::{Finding, Rules, Token, definition, tokens};

/// Functions that Postgres does not have, or not so, and the remedies.
const FUNCTIONS: [(&str, &str); 38] = [
    ("char", "use chr"),
    ("datetime", "of now alone: bind times of the program"),
    ("format", "its patterns are others"),
    ("glob", "use LIKE or ~"),
    ("hex", "use encode(x, 'hex')"),
    ("json", "cast to json"),
    ("json_array", "use json_build_array"),
    ("json_each", "use jsonb_array_elements or jsonb_each"),
    ("json_extract", "of paths, '$.key' alone: use #>> on jsonb"),
    ("json_group_array", "use json_agg"),
    ("json_group_object", "use json_object_agg"),
    ("json_insert", "use jsonb_insert on jsonb"),
    ("json_object", "use json_build_object"),
    ("json_patch", "use || on jsonb"),
    ("json_quote", "use to_json"),
    ("json_remove", "use #- on jsonb"),
    ("json_replace", "use jsonb_set on jsonb"),
    ("json_set", "use jsonb_set on jsonb"),
    ("json_tree", "there is none"),
    ("json_type", "use json_typeof"),
    ("json_valid", "there is none before Postgres 16"),
    ("jsonb", "cast to jsonb"),
    ("julianday", "use extract(julian from x)"),
    ("last_insert_rowid", "use RETURNING"),
    ("likelihood", "leave it out"),
    ("likely", "leave it out"),
    ("printf", "use format or to_char"),
    ("quote", "use quote_nullable"),
    ("randomblob", "bind random bytes of the program"),
    ("strftime", "of now in SQLite's forms alone: use to_char"),
    ("time", "cast to time"),
    ("total", "use coalesce(sum(x), 0)"),
    ("total_changes", "take the count of changed rows from the answer"),
    ("typeof", "use pg_typeof"),
    ("unhex", "use decode(x, 'hex')"),
    ("unicode", "use ascii"),
    ("unixepoch", "of now alone: use extract(epoch from x)"),
    ("unlikely", "leave it out"),
];

/// Words behind which a name with parentheses is a table and no function.
const BEFORE_TABLES: [&str; 8] = ["EXISTS", "INDEX", "INTO", "ON", "REFERENCES", "TABLE", "VIEW", "WITH"];

/// Looks at a statement of a script. `names` are those of the schema, in lower case.
pub(super) fn check(script: &str, statement: &str, names: &BTreeSet<String>) -> Vec<Finding> {
    let tokens = tokens(script, statement);
    let mut rules = Rules { script, found: Vec::new() };
    let words = Words { tokens: &tokens, names };
    if words.whole_statement(&mut rules) {
        return rules.found;
    }
    definition::check(&mut rules, &tokens);
    for index in 0..tokens.len() {
        words.quoting(&mut rules, index);
        words.function(&mut rules, index);
        words.clause(&mut rules, index);
        words.operator(&mut rules, index);
        words.number(&mut rules, index);
        words.limit(&mut rules, index);
    }
    rules.found
}

struct Words<'a> {
    tokens: &'a [Token<'a>],
    names: &'a BTreeSet<String>,
}

impl<'a> Words<'a> {
    fn is(&self, index: usize, word: &str) -> bool {
        self.tokens.get(index).is_some_and(|token| token.is(word))
    }

    fn is_one_of(&self, index: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(index, word))
    }

    fn before(&self, index: usize) -> Option<&'a Token<'a>> {
        index.checked_sub(1).and_then(|index| self.tokens.get(index))
    }

    /// Returns whether two tokens stand without space between them.
    fn touches(&self, index: usize) -> bool {
        matches!((self.tokens.get(index), self.tokens.get(index + 1)), (Some(one), Some(next)) if one.end() == next.start)
    }

    /// Statements that Postgres does not have; returns whether nothing else of it is to be looked at.
    fn whole_statement(&self, rules: &mut Rules<'_>) -> bool {
        let Some(first) = self.tokens.first() else { return true };
        let is = |index: usize, word: &str| self.is(index, word);
        let (construct, message) = match first.text.to_ascii_uppercase().as_str() {
            "PRAGMA" => ("PRAGMA", "there are none in Postgres"),
            "ATTACH" | "DETACH" => ("ATTACH", "use a schema of the database"),
            "BEGIN" if self.is_one_of(1, &["IMMEDIATE", "EXCLUSIVE", "DEFERRED"]) => ("BEGIN IMMEDIATE", "use BEGIN"),
            "EXPLAIN" if is(1, "QUERY") => ("EXPLAIN QUERY PLAN", "use EXPLAIN"),
            "CREATE" if is(1, "VIRTUAL") => {
                ("CREATE VIRTUAL TABLE", "there are none in Postgres: use tsvector for full text")
            }
            "CREATE" if is(1, "TRIGGER") || is(2, "TRIGGER") => ("CREATE TRIGGER", "its body has to be a function"),
            "DROP" if is(1, "TRIGGER") && !self.tokens.iter().any(|token| token.is("ON")) => {
                ("DROP TRIGGER", "name the table: DROP TRIGGER name ON table")
            }
            "REPLACE" if is(1, "INTO") => ("REPLACE", "use INSERT ... ON CONFLICT (...) DO UPDATE"),
            _ => return false,
        };
        rules.error(first, construct, message);
        construct != "REPLACE"
    }

    /// Quotes of names and texts.
    fn quoting(&self, rules: &mut Rules<'_>, index: usize) {
        let token = &self.tokens[index];
        if token.text.starts_with('[') {
            rules.error(token, token.text, "quote names by \"");
        } else if token.text.starts_with('"') && !self.is_name(index) {
            rules.error(token, token.text, "it is a name in Postgres: quote texts by '");
        }
    }

    /// Returns whether a token in double quotes is a name: one of the schema, of this statement, or one that stands where names do.
    fn is_name(&self, index: usize) -> bool {
        let name = self.tokens[index].name().to_ascii_lowercase();
        let is_qualified =
            self.is(index + 1, ".") || self.before(index).is_some_and(|before| [".", ")"].contains(&before.text));
        let is_defined = self.before(index).is_some_and(|before| {
            [
                "AS",
                "FROM",
                "JOIN",
                "INTO",
                "TABLE",
                "UPDATE",
                "COLUMN",
                "INDEX",
                "VIEW",
                "EXISTS",
                "ON",
                "TO",
                "CONSTRAINT",
                "ADD",
            ]
            .iter()
            .any(|word| before.is(word))
        });
        // The same word or alias elsewhere in the statement.
        let is_alias = |other: usize| self.before(other).is_some_and(|before| before.is("AS"));
        let is_same = |other: usize, token: &Token<'_>| {
            token.name().eq_ignore_ascii_case(&name) && (token.is_word() || is_alias(other))
        };
        let is_used = self.tokens.iter().enumerate().any(|(other, token)| other != index && is_same(other, token));
        is_qualified || is_defined || is_used || self.names.contains(&name)
    }

    fn function(&self, rules: &mut Rules<'_>, index: usize) {
        let token = &self.tokens[index];
        if !token.is_word() || !self.is(index + 1, "(") {
            return;
        }
        let follows =
            |words: &[&str]| self.before(index).is_some_and(|before| words.iter().any(|word| before.is(word)));
        let may_be_type = token.is("char") || token.is("time");
        let is_type = may_be_type && (follows(&["AS"]) || self.is_one_of(0, &["CREATE", "ALTER"]));
        if is_type || follows(&BEFORE_TABLES) || follows(&["."]) {
            return;
        }
        let construct = format!("{}()", token.text);
        if self.is_translated(index) {
            return;
        }
        if let Some((_, remedy)) = FUNCTIONS.iter().find(|(name, _)| token.is(name)) {
            rules.error(token, &construct, remedy);
        } else if token.is("date") && self.arguments(index + 1) > 1 {
            rules.error(token, &construct, "there are no modifiers: use intervals");
        } else if token.is("round") && self.arguments(index + 1) == 1 {
            rules.error(token, &construct, "halves are rounded to even in Postgres: cast to NUMERIC first");
        } else if (token.is("substr") || token.is("substring")) && self.has_negative_start(index + 1) {
            rules.error(token, &construct, "a negative start does not count from the end in Postgres: use right");
        } else if token.is("random") {
            rules.error(token, &construct, "a fraction below 1 in Postgres, an integer of 64 bits here: bind a number");
        }
    }

    /// Returns whether a call has a form that the backend translates: the time of now, and a key of JSON.
    fn is_translated(&self, index: usize) -> bool {
        let token = &self.tokens[index];
        let text = |ahead: usize| self.tokens.get(index + ahead).map_or("", |token| token.text);
        let is_now = |ahead: usize| text(ahead).eq_ignore_ascii_case("'now'") && text(ahead + 1) == ")";
        if ["datetime", "date", "time", "unixepoch"].iter().any(|name| token.is(name)) {
            return text(2) == ")" || is_now(2);
        }
        if token.is("strftime") {
            return ["'%s'", "'%Y-%m-%dT%H:%M:%fZ'"].contains(&text(2)) && text(3) == "," && is_now(4);
        }
        let is_key = |path: &str| {
            let key = path.strip_prefix("'$.").and_then(|path| path.strip_suffix('\''));
            key.is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        };
        token.is("json_extract") && (text(2) == "'{}'" || (text(3) == "," && is_key(text(4)) && text(5) == ")"))
    }

    /// Returns whether the second argument has a sign.
    fn has_negative_start(&self, open: usize) -> bool {
        let mut depth = 0_usize;
        for index in open..self.tokens.len() {
            match self.tokens[index].text {
                "(" => depth += 1,
                ")" if depth <= 1 => return false,
                ")" => depth -= 1,
                "," if depth == 1 => return self.is(index + 1, "-"),
                _ => {}
            }
        }
        false
    }

    /// Number of the arguments between parentheses.
    fn arguments(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        let mut commas = 0;
        for token in &self.tokens[open..] {
            match token.text {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                "," if depth == 1 => commas += 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        commas + 1
    }

    /// Clauses of two words and more.
    fn clause(&self, rules: &mut Rules<'_>, index: usize) {
        let token = &self.tokens[index];
        let is = |ahead: usize, word: &str| self.is(index + ahead, word);
        let next = self.tokens.get(index + 1).map(|next| next.text.to_ascii_uppercase()).unwrap_or_default();
        if token.is("INSERT") && next == "OR" && is(2, "IGNORE") {
            let message = "a row that violates NOT NULL or CHECK is an error in Postgres, and left out here";
            rules.warning(token, "INSERT OR IGNORE", message);
        } else if (token.is("INSERT") || token.is("UPDATE")) && next == "OR" {
            let how = self.tokens.get(index + 2).map(|how| how.text.to_ascii_uppercase()).unwrap_or_default();
            rules.error(
                token,
                &format!("{} OR {how}", token.text.to_ascii_uppercase()),
                "use INSERT ... ON CONFLICT (...) DO ...",
            );
        } else if token.is("COLLATE") && self.is_one_of(index + 1, &["NOCASE", "RTRIM"]) {
            rules.error(token, &format!("COLLATE {next}"), "use lower(), or the type citext");
        } else if token.is("ON")
            && next == "CONFLICT"
            && self.is_one_of(index + 2, &["ROLLBACK", "ABORT", "FAIL", "IGNORE", "REPLACE"])
        {
            rules.error(
                token,
                "ON CONFLICT",
                "a constraint has no conflict clause: use INSERT ... ON CONFLICT (...) DO ...",
            );
        } else if token.is("INDEXED") && next == "BY" {
            rules.error(token, "INDEXED BY", "leave it out");
        } else if token.is("VIEW") && next == "IF" && is(2, "NOT") {
            rules.error(token, "CREATE VIEW IF NOT EXISTS", "use CREATE OR REPLACE VIEW");
        } else if self.is_rowid(index) {
            rules.error(token, token.text, "there are no rowids in Postgres: name a key");
        }
    }

    fn is_rowid(&self, index: usize) -> bool {
        let token = &self.tokens[index];
        let is_option = self.before(index).is_some_and(|before| before.is("WITHOUT"));
        (token.is("rowid") || token.is("_rowid_"))
            && !is_option
            && !self.names.contains(&token.text.to_ascii_lowercase())
    }

    fn operator(&self, rules: &mut Rules<'_>, index: usize) {
        let token = &self.tokens[index];
        let has_operand = self.before(index).is_some_and(|before| !["(", ",", "."].contains(&before.text));
        let is_binary = has_operand && !self.is_one_of(index + 1, &["(", ")", ",", "."]);
        if token.text == "-" && self.is(index + 1, ">") && self.touches(index) {
            rules.warning(token, "->", "it needs a column of the type json or jsonb");
        } else if is_binary && ["GLOB", "MATCH", "REGEXP"].iter().any(|word| token.is(word)) {
            rules.error(token, &token.text.to_ascii_uppercase(), "use LIKE or ~");
        } else if token.is("IN") && self.is(index + 1, "(") && self.is(index + 2, ")") {
            rules.error(token, "IN ()", "an empty list: use FALSE");
        } else if self.is_number_for_truth(index) {
            rules.error(
                token,
                &format!("{} {}", token.text.to_ascii_uppercase(), self.tokens[index + 1].text),
                "a number is no truth value",
            );
        }
    }

    /// Integers of more than 64 bits, which are doubles in SQLite.
    fn number(&self, rules: &mut Rules<'_>, index: usize) {
        let token = &self.tokens[index];
        let follows = |text: &str| self.before(index).is_some_and(|before| before.text == text);
        let is_integer = token.text.bytes().all(|byte| byte.is_ascii_digit());
        let is_of_fraction = follows(".") || self.is(index + 1, ".");
        let is_least = token.text == "9223372036854775808" && follows("-");
        if is_integer && token.text.parse::<i64>().is_err() && !(is_of_fraction || is_least) {
            rules.error(token, token.text, "it is not an integer of 64 bits: write a double with a point");
        }
    }

    /// `WHERE 1`.
    fn is_number_for_truth(&self, index: usize) -> bool {
        let token = &self.tokens[index];
        let is_number =
            self.tokens.get(index + 1).is_some_and(|next| next.text.bytes().all(|byte| byte.is_ascii_digit()));
        let ends = ["AND", "OR", "ORDER", "GROUP", "LIMIT", "RETURNING", "THEN", ")", ";"];
        let is_alone = index + 2 >= self.tokens.len() || self.is_one_of(index + 2, &ends);
        token.is("WHERE") && is_number && is_alone
    }

    fn limit(&self, rules: &mut Rules<'_>, index: usize) {
        let token = &self.tokens[index];
        if !token.is("LIMIT") {
            return;
        }
        let depth = self.tokens[..index].iter().fold(0_i64, |depth, token| match token.text {
            "(" => depth + 1,
            ")" => depth - 1,
            _ => depth,
        });
        if self.is(index + 1, "-") {
            rules.error(token, "LIMIT -1", "leave it out, or use LIMIT ALL");
        } else if self.is(index + 2, ",") {
            rules.error(token, "LIMIT a, b", "use LIMIT b OFFSET a");
        } else if depth == 0 && self.is_one_of(0, &["UPDATE", "DELETE"]) {
            rules.error(token, "LIMIT", "UPDATE and DELETE have none: choose the rows by a subquery");
        }
    }
}
