//! E-mail out of a Worker, through the `send_email` binding as workerd's stand-in for it accepts messages.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Outcome;
use crate::http::{Answer, ask};
use crate::worker::{Workerd, first_owner, platform};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const NEW_PASSWORD: &str = "another horse battery";

/// Signs the owner up, resets the password by the link in the message, and signs in with the new one.
pub(super) fn check(build: PathBuf) -> Outcome {
    let mut options = platform(build, 0)?;
    options.name = "mail".to_owned();
    options.mail = Some("EMAIL".to_owned());
    for (name, value) in [("MAIL_FROM", "noreply@example.com"), ("PUBLIC_URL", "https://platform.example.com")] {
        options.vars.insert(name.to_owned(), value.into());
    }
    let workerd = Workerd::start(&options)?;
    let owner = first_owner();
    expect(&workerd, "signup", &owner, 201)?;
    expect(&workerd, "forgot", &json!({"email": owner["email"]}), 202)?;
    let message = message(&workerd, "/dashboard/reset#")?;
    let token = message.split_once("/dashboard/reset#").and_then(|(_, rest)| rest.split_whitespace().next());
    let token = token.ok_or("the message has no link")?;
    expect(&workerd, "reset", &json!({"token": token, "password": NEW_PASSWORD}), 204)?;
    expect(&workerd, "login", &json!({"email": owner["email"], "password": NEW_PASSWORD}), 200)?;
    println!("a message of the Worker's resets a password");
    Ok(())
}

fn expect(workerd: &Workerd, action: &str, body: &serde_json::Value, status: u16) -> Result<Answer> {
    let headers = [("Content-Type", "application/json")];
    let path = format!("/api/auth/{action}");
    let answer = ask(&workerd.address, "POST", &path, &headers, body.to_string().as_bytes())?;
    if answer.status == status {
        return Ok(answer);
    }
    Err(format!("{path}: status {}, expected {status}: {}", answer.status, answer.text()).into())
}

/// Returns the text of the message with this in it. Miniflare prints the file in which it keeps each.
fn message(workerd: &Workerd, part: &str) -> Result<String> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        for line in workerd.printed() {
            let Some(file) = line.strip_prefix("Text: ") else { continue };
            let text = fs::read_to_string(file.trim()).unwrap_or_default();
            if text.contains(part) {
                return Ok(text);
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(format!("no message with {part}; printed: {:#?}", workerd.printed()).into())
}
