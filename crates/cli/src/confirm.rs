//! Questions before what cannot be taken back.

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
