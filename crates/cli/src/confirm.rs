//! Questions before what cannot be taken back.
//!
//! A question is printed to standard error and read from standard input, so that `--json > file` can be
//! answered. The default, an empty line, is no.
//!
//! wrangler asks likewise, but answers for itself where there is no terminal, mostly with yes:
//! `wrangler d1 time-travel restore` in a cron job replaces all data. Here that is so only for
//! migrations ([`Unattended::Proceed`]), which CI applies and which can be undone or written anew; what
//! deletes or replaces data needs `--yes` there. A script that was written for wrangler fails loudly,
//! and changes nothing, rather than doing something its author had not thought of.

use std::io::{IsTerminal, Write};

use crate::Outcome;

/// Answer to a question that no terminal is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unattended {
    /// Yes, as wrangler has it for what it knows too.
    Proceed,
    /// No: it takes `--yes`.
    Refuse,
}

/// Asks at the terminal, unless `--yes` was given.
///
/// `question` is a sentence without its question mark, and begins with what would be done.
///
/// # Errors
/// The answer is not `y` or `yes`, in any case; there is no terminal and it takes one; the terminal
/// cannot be read. In each case nothing was changed: a command asks before its first write.
pub(crate) fn confirm(yes: bool, question: &str, unattended: Unattended) -> Outcome {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return match unattended {
            Unattended::Proceed => Ok(()),
            Unattended::Refuse => {
                Err(format!("nothing was changed: there is no terminal to ask \"{question}?\"; pass --yes").into())
            }
        };
    }
    eprint!("{question}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err("cancelled; nothing was changed".into()),
    }
}
