//! Passwords that are refused: those that are tried first.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Characters of a password: NIST SP 800-63B asks for a least length and for no composition.
pub(super) const LENGTH: std::ops::RangeInclusive<usize> = 10..=256;
/// Said of a password of another length.
pub(super) const PASSWORD: &str = "must be 10 to 256 characters";

static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().filter(|line| !line.starts_with("# ")).collect());

/// Returns the reason to refuse a new password; `None` where it is accepted. `known` is public of its user: the e-mail address, the
/// name.
///
/// The list has 2,755 passwords of 10 characters and more; what repeats a shorter text or is one run (`abcdefghij`) is refused
/// without it. OWASP ASVS 5.0, 6.2.4, wants the 3,000 most used that the policy admits.
pub(super) fn refusal(password: &str, known: &[&str]) -> Option<&'static str> {
    if !LENGTH.contains(&password.chars().count()) {
        return Some(PASSWORD);
    }
    let lower = password.to_lowercase();
    if COMMON.contains(lower.as_str()) || is_repetition(&lower) || is_run(&lower) {
        return Some("is one of the passwords that are tried first; choose another");
    }
    let is_known = |known: &&str| {
        let known = known.trim().to_lowercase();
        let local = known.split('@').next().unwrap_or_default();
        lower == known || lower == local
    };
    if known.iter().any(is_known) {
        return Some("must not be your e-mail address or your name");
    }
    None
}

/// Whether a text is a shorter one several times: `abcabcabcabc`.
fn is_repetition(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=chars.len() / 2).any(|length| chars.iter().zip(&chars[length..]).all(|(one, other)| one == other))
}

/// Whether each character follows, or precedes, the one before it: `1234567890`, `jihgfedcba`.
fn is_run(text: &str) -> bool {
    let codes: Vec<i64> = text.chars().map(|it| i64::from(u32::from(it))).collect();
    let steps = |step: i64| codes.windows(2).all(|pair| pair[1] - pair[0] == step);
    steps(1) || steps(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_tried_first_are_refused() {
        assert!(COMMON.len() > 2_700, "{}", COMMON.len());
        for common in ["password123", "Qwertyuiop", "1234567890", "PASSWORD123", "iloveyou123", "liverpoolfc"] {
            assert!(refusal(common, &[]).is_some(), "{common}");
        }
        for repeated in ["aaaaaaaaaaaa", "abcabcabcabc", "abcdefghijkl", "9876543210"] {
            assert!(refusal(repeated, &[]).is_some(), "{repeated}");
        }
        assert!(refusal("Ada.Lovelace", &["ada.lovelace@example.com"]).is_some());
        assert!(refusal("ada lovelace", &["ada@example.com", "Ada Lovelace"]).is_some());
        assert_eq!(refusal("short", &[]), Some(PASSWORD));
        assert_eq!(refusal(&"x1".repeat(200), &[]), Some(PASSWORD));
        for good in ["correct horse battery", "a new password", "größer als ein Wal", "tr0ub4dor&3-and-more"] {
            assert_eq!(refusal(good, &["ada@example.com", "Ada"]), None, "{good}");
        }
    }
}
