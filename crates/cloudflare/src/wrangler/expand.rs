//! References to other values in `.env`, as dotenv-expand 12, which wrangler uses, resolves them.
//!
//! The original replaces the first reference of a text by its value and begins again, until there is none, so that values with dollar signs
//! go on to be resolved. Its ends and oddities are kept, as a value that differs from wrangler's is a fault that shows in production alone:
//! replacements pass through JavaScript's `String.replace`, to which `$&` and `$$` in a value mean something, and a text that comes back to
//! one it was before stops there. Unlike the original, a text that grows without end is refused, after 1,000 replacements or 1 MiB.

/// Replacements in one value at most: values that bring in new references without end are refused.
const REPLACEMENTS: usize = 1000;
/// Bytes of a value at most.
const BYTES: usize = 1 << 20;

/// Replaces `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+alternative}` and `${NAME+alternative}` by the values
/// of names that are assigned earlier; a later or unknown name, and an empty value, count as not set. `\$` is a dollar sign.
///
/// # Errors
/// The name whose value has no end.
pub(super) fn expand(assignments: &mut [(String, String)]) -> Result<(), String> {
    for at in 0..assignments.len() {
        let (earlier, rest) = assignments.split_at_mut(at);
        let (name, value) = &mut rest[0];
        match expanded(value, earlier) {
            Some(text) => *value = text.replace("\\$", "$"),
            None => return Err(name.clone()),
        }
    }
    Ok(())
}

/// The text of a value without references; `None` where it has no end. `seen` has the texts so far: a value equal to one of them is not put
/// in again.
fn expanded(value: &str, earlier: &[(String, String)]) -> Option<String> {
    let mut text = value.to_owned();
    let mut seen = Vec::new();
    while let Some((template, expression)) = reference(&text) {
        if seen.len() == REPLACEMENTS || text.len() > BYTES {
            return None;
        }
        seen.push(text.clone());
        let (key, operator, operand) = parts(expression).unwrap_or((expression, "", ""));
        let found = earlier.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let set = found.filter(|value| !value.is_empty());
        let replacement = match operator {
            ":+" | "+" => set.map_or("", |_| operand),
            // A value that was there before would go round in a circle.
            _ => set.filter(|value| !seen.iter().any(|before| before == value)).unwrap_or(operand),
        };
        let replaced = replaced(&text, template, replacement);
        let is_over = found == Some(&*replaced);
        text = replaced;
        if is_over {
            break;
        }
    }
    Some(text)
}

/// The first reference: with its sign and braces, and without.
fn reference(text: &str) -> Option<(&str, &str)> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.match_indices('$').find_map(|(at, _)| {
        if text[..at].ends_with('\\') {
            return None;
        }
        let rest = &text[at + 1..];
        let braced = rest.strip_prefix('{').and_then(|inner| {
            let end = inner.find(['{', '}'])?;
            (end > 0 && inner[end..].starts_with('}')).then(|| (&text[at..at + end + 3], &inner[..end]))
        });
        let bare = || {
            let end = rest.find(|char| !is_name(char)).unwrap_or(rest.len());
            let begins = rest.starts_with(|char: char| is_name(char) && !char.is_ascii_digit());
            begins.then(|| (&text[at..=at + end], &rest[..end]))
        };
        braced.or_else(bare)
    })
}

/// Cuts an expression at its first operator: the name, the operator, and what is behind it.
fn parts(expression: &str) -> Option<(&str, &str, &str)> {
    expression.char_indices().find_map(|(at, _)| {
        let rest = &expression[at..];
        let operator = [":+", "+", ":-", "-"].into_iter().find(|operator| rest.starts_with(operator))?;
        Some((&expression[..at], operator, &rest[operator.len()..]))
    })
}

/// Replaces the first occurrence, and the signs `$$`, `$&`, `` $` `` and `$'` in the replacement, as JavaScript does.
fn replaced(text: &str, template: &str, replacement: &str) -> String {
    let Some((before, after)) = text.split_once(template) else { return text.to_owned() };
    let mut result = before.to_owned();
    let mut rest = replacement;
    while let Some((plain, signed)) = rest.split_once('$') {
        result.push_str(plain);
        let inserted = match signed.chars().next() {
            Some('$') => Some("$"),
            Some('&') => Some(template),
            Some('`') => Some(before),
            Some('\'') => Some(after),
            _ => None,
        };
        result.push_str(inserted.unwrap_or("$"));
        rest = if inserted.is_some() { &signed[1..] } else { signed };
    }
    result + rest + after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut owned: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        expand(&mut owned).expect("every value has an end");
        owned.into_iter().map(|(_, value)| value).collect()
    }

    /// The right values are what the dotenv-expand in wrangler 4.164 has answered.
    #[test]
    fn references_are_resolved_as_dotenv_expand_does() {
        let got = all(&[
            ("A", "1"),
            ("B", "$A"),
            ("C", "${A}2"),
            ("D", "x$A-y"),
            ("E", "\\$A"),
            ("F", "$LATER"),
            ("LATER", "l"),
            ("G", "${NONE:-d}"),
            ("H", "${NONE-e f}"),
            ("I", "${A:+yes}"),
            ("J", "${NONE:+yes}"),
        ]);
        assert_eq!(got, ["1", "1", "12", "x1-y", "$A", "", "l", "d", "e f", "yes", ""]);
        let got = all(&[
            ("A", "a"),
            ("B", "b"),
            ("C", "$A$B$A"),
            ("D", "${NONE:-$B}"),
            ("E", "${NONE:-${B}}"),
            ("F", "${}$"),
            ("G", "$1 $_x"),
            ("H", "\\$A $A"),
            ("I", "${A"),
            ("J", "${A-b}c"),
            ("K", "a:$A:b"),
        ]);
        assert_eq!(got, ["a", "b", "aba", "b", "b", "${}$", "$1 ", "\\a a", "${A", "ac", "a:a:b"]);
        let got = all(&[
            ("A", "\\$B"),
            ("B", "b"),
            ("C", "$A"),
            ("D", "y $A"),
            ("S", "$S"),
            ("P", "a$$b$&c"),
            ("R", "pa$word"),
        ]);
        assert_eq!(got, ["$B", "b", "$B", "y b", "", "a$$&c", "pa"]);
        let got = all(&[
            ("Y", ""),
            ("A", "${Y:-d}"),
            ("B", "${Y+d}"),
            ("Z", "${N:-x:-y}"),
            ("G", "${N:-x-y+z}"),
            ("H", "$A$Y."),
        ]);
        assert_eq!(got, ["", "d", "", "x:-y", "x-y+z", "d."]);
        let got = all(&[
            ("M", "$$"),
            ("N", "[$M]"),
            ("V", "$'"),
            ("W", "<$V>"),
            ("A", "a"),
            ("X", "\\$A"),
            ("Z", "${X}${A}"),
        ]);
        assert_eq!(got, ["$$", "[$]", "$'", "<>>", "a", "$A", "aa"]);
    }

    #[test]
    fn a_value_without_end_is_refused() {
        let mut values = vec![("B".to_owned(), "\\$B x".to_owned()), ("A".to_owned(), "y $B".to_owned())];
        assert_eq!(expand(&mut values), Err("A".to_owned()));
    }
}
