//! Columns of CREATE TABLE and ALTER TABLE, for Postgres.

use super::{Rules, Token};
use crate::sql;

/// Types that Postgres does not have, and those for them.
const TYPES: [(&str, &str); 12] = [
    ("ANY", "name a type"),
    ("CLOB", "use TEXT"),
    ("DATETIME", "without DEFAULT CURRENT_TIMESTAMP: use TIMESTAMP, or TEXT as here"),
    ("LONG", "use BIGINT"),
    ("LONGTEXT", "use TEXT"),
    ("MEDIUMINT", "use INTEGER"),
    ("NUMBER", "use NUMERIC"),
    ("NVARCHAR", "use VARCHAR"),
    ("STRING", "use TEXT"),
    ("TINYINT", "use SMALLINT"),
    ("UNSIGNED", "there are signed integers only"),
    ("MEDIUMTEXT", "use TEXT"),
];

/// Looks at the columns that a statement defines.
pub(super) fn check(rules: &mut Rules<'_>, tokens: &[Token<'_>]) {
    let at = |index: usize, word: &str| tokens.get(index).is_some_and(|token| token.is(word));
    if at(0, "ALTER") && at(1, "TABLE") {
        let add = tokens.iter().position(|token| token.is("ADD"));
        if let Some(add) = add {
            let first = add + 1 + usize::from(at(add + 1, "COLUMN"));
            column(rules, tokens.get(first..).unwrap_or_default());
        }
        return;
    }
    if !at(0, "CREATE") || !(1..3).any(|index| at(index, "TABLE")) {
        return;
    }
    let open = tokens.iter().position(|token| token.text == "(");
    let select = tokens.iter().position(|token| token.is("SELECT"));
    let Some(open) = open.filter(|open| select.is_none_or(|select| *open < select)) else { return };
    let mut depth = 0_usize;
    let mut first = open + 1;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = (token.text == "," && depth == 1) || depth == 0;
        if ends {
            column(rules, &tokens[first..index]);
            first = index + 1;
        }
        if depth == 0 {
            return;
        }
    }
}

/// A column's definition, from its name on, or a constraint of the table.
fn column(rules: &mut Rules<'_>, tokens: &[Token<'_>]) {
    let [name, rest @ ..] = tokens else { return };
    if sql::OF_THE_TABLE.iter().any(|word| name.is(word)) {
        return;
    }
    let ends = |token: &Token<'_>| sql::BEHIND_TYPE.iter().any(|word| token.is(word));
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let declared = &rest[..end];
    if declared.is_empty() {
        rules.error(name, &format!("column {}", name.name()), "a column without a type: name one");
    }
    // A time that is text by its default is text in Postgres, too.
    let mut default = rest.iter().skip_while(|token| !token.is("DEFAULT")).skip(1);
    let is_text =
        default.find(|token| token.text != "(").is_some_and(|token| sql::NOW.iter().any(|word| token.is(word)));
    for token in declared.iter().filter(|token| !(is_text && token.is("DATETIME"))) {
        if let Some((name, remedy)) = TYPES.iter().find(|(name, _)| token.is(name)) {
            rules.error(token, name, remedy);
        }
    }
    let has = |word: &str| rest.iter().any(|token| token.is(word));
    if declared.len() == 1 && declared[0].is("INTEGER") && has("PRIMARY") && !has("IDENTITY") {
        let message = "in Postgres a sequence gives the ids, and does not give those of deleted or undone rows again";
        rules.warning(&declared[0], "INTEGER PRIMARY KEY", message);
    }
    generated(rules, rest);
}

/// `GENERATED ALWAYS AS (...) STORED` is the only form that both have.
fn generated(rules: &mut Rules<'_>, tokens: &[Token<'_>]) {
    let Some(at) = tokens.windows(2).position(|two| two[0].is("AS") && two[1].text == "(") else { return };
    if at.checked_sub(1).is_none_or(|before| !tokens[before].is("ALWAYS")) {
        rules.error(&tokens[at], "AS", "write GENERATED ALWAYS AS");
    }
    if !tokens.iter().any(|token| token.is("STORED")) {
        rules.error(&tokens[at], "VIRTUAL", "a generated column has to be STORED");
    }
}
