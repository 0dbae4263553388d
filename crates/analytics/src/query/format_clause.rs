//! The `FORMAT` clause at the end of a query's text.

use super::lexer::{Token, TokenKind, tokens};
use super::position::{Position, error_at};
use super::{Format, Query};
use crate::Result;

impl Query {
    /// Returns the text in which parameters are literals, without its `FORMAT` clause, and the clause's format: for an executor that
    /// has its answers in a format of its own.
    ///
    /// ```
    /// use isobar_analytics::query::{Format, Query};
    ///
    /// let query = Query::new("SELECT $1 AS one FORMAT JSONEachRow;").with(1);
    /// assert_eq!(query.to_sql_and_format()?, ("SELECT 1 AS one".to_owned(), Some(Format::JsonEachRow)));
    /// # Ok::<(), isobar_analytics::Error>(())
    /// ```
    ///
    /// `WITH FILL` is the local executor's alone, and refused.
    ///
    /// # Errors
    /// As [`to_sql`](Self::to_sql), and where the text has no end, the format is unknown or there is a `WITH FILL`.
    pub fn to_sql_and_format(&self) -> Result<(String, Option<Format>)> {
        let sql = self.to_sql()?;
        let (text, format) = without_format(&sql)?;
        Ok((text.to_owned(), format))
    }
}

/// Takes the format and a semicolon off the end of a query's text.
///
/// # Errors
/// [`ErrorKind::Query`](crate::ErrorKind::Query): a text without an end, an unknown format, and what Cloudflare's SQL does not have.
pub(crate) fn without_format(text: &str) -> Result<(&str, Option<Format>)> {
    let tokens = words(text)?;
    if let Some(pair) = tokens.windows(2).find(|pair| pair[0].is_word("WITH") && pair[1].is_word("FILL")) {
        let message = "WITH FILL is an extension of the local executor; Cloudflare's SQL does not have it";
        return Err(error_at(Position::of(text, pair[0].at), message));
    }
    cut(text, tokens)
}

/// As [`without_format`], for executors that have `WITH FILL`.
#[cfg(all(feature = "clickhouse", feature = "query", not(target_arch = "wasm32")))]
pub(super) fn cut_format(text: &str) -> Result<(&str, Option<Format>)> {
    cut(text, words(text)?)
}

/// The tokens without spaces and comments.
fn words(text: &str) -> Result<Vec<Token<'_>>> {
    let mut tokens = tokens(text)?;
    tokens.retain(|token| token.kind != TokenKind::Space);
    Ok(tokens)
}

fn cut<'t>(text: &'t str, mut tokens: Vec<Token<'t>>) -> Result<(&'t str, Option<Format>)> {
    if tokens.last().is_some_and(|token| token.is_symbol(";")) {
        tokens.pop();
    }
    let end = |tokens: &[Token<'_>]| tokens.last().map_or(0, |token| token.at + token.text.len());
    if let [before @ .., word, name] = &tokens[..]
        && !before.is_empty()
        && word.is_word("FORMAT")
        && name.kind == TokenKind::Word
    {
        let format = name.text.parse::<Format>();
        let format = format.map_err(|error| error_at(Position::of(text, name.at), error))?;
        return Ok((&text[..end(before)], Some(format)));
    }
    Ok((&text[..end(&tokens)], None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_clause_is_taken_off() {
        let cut = |text| without_format(text).expect("the query is valid");
        assert_eq!(
            cut("SELECT 'é FORMAT JSON'\n FORMAT JSONEachRow ; "),
            ("SELECT 'é FORMAT JSON'", Some(Format::JsonEachRow))
        );
        assert_eq!(cut("SHOW TABLES -- FORMAT JSON\n;"), ("SHOW TABLES", None));
        assert_eq!(cut("FORMAT JSON"), ("FORMAT JSON", None));
        let error = without_format("SELECT a FROM t\nORDER BY a with /* */ Fill").expect_err("it is an extension");
        assert!(error.message().starts_with("line 2, column 12: WITH FILL is an extension"), "{error}");
        assert!(without_format("SELECT 'WITH FILL' AS with, fill FROM t -- WITH FILL").is_ok());
        let error = without_format("SELECT 1\nFORMAT CSV").expect_err("there is no such format");
        assert!(error.message().starts_with("line 2, column 8: unknown format CSV"), "{error}");
    }
}
