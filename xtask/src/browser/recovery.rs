//! Account actions by e-mail: confirming an address, and replacing a forgotten password.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::tab::Result;
use super::{PASSWORD, Walk};

const ANOTHER: &str = "another horse battery";

impl Walk {
    pub(super) fn recovery(&mut self, state: &Path) -> Result<()> {
        self.visit("unconfirmed", "/dashboard/settings", "ada@example.com, not confirmed.")?;
        self.tab.go(&mailed(state, "ada@example.com", "/dashboard/verify#")?)?;
        self.tab.shows("Confirm your e-mail address")?;
        self.shoot("verify")?;
        self.tab.click("#verify button")?;
        self.tab.shows("ada@example.com is confirmed.")?;
        self.visit("confirmed", "/dashboard/settings", "ada@example.com, confirmed.")?;
        self.tab.click("#sign-out")?;
        self.tab.shows("Forgot password?")?;
        self.visit("forgot", "/dashboard/forgot", "Forgot your password?")?;
        self.tab.fill("#forgot", &[("email", "ada@example.com")])?;
        self.tab.click("#forgot button")?;
        self.tab.shows("we have sent a link")?;
        self.tab.go(&mailed(state, "ada@example.com", "/dashboard/reset#")?)?;
        self.tab.shows("Choose a new password")?;
        self.tab.fill("#reset", &[("password", "password123")])?;
        self.tab.click("#reset button")?;
        self.tab.shows("is one of the passwords that are tried first")?;
        self.shoot("reset-refused")?;
        self.tab.complaints.clear(); // the browser calls the 400 an error
        self.tab.fill("#reset", &[("password", ANOTHER)])?;
        self.tab.click("#reset button")?;
        self.tab.shows("Sign in with the new one")?;
        self.tab.fill("#login", &[("email", "ada@example.com"), ("password", ANOTHER)])?;
        self.tab.click("#login button")?;
        self.tab.shows("owner of Inner Animal")?;
        // Restore the password for the rest of the test.
        self.visit("password", "/dashboard/settings", "Keep my API keys")?;
        self.tab.fill("#password", &[("current", ANOTHER), ("new", PASSWORD)])?;
        self.tab.click("#password button")?;
        self.tab.shows("Your password was changed")?;
        self.calm()
    }
}

/// Returns the link to a page in the newest e-mail to an address, from the platform's folder of messages.
pub(super) fn mailed(state: &Path, to: &str, page: &str) -> Result<String> {
    let begin = Instant::now();
    loop {
        let mut files: Vec<_> = fs::read_dir(state.join("root/mail"))
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        files.sort();
        for file in files.iter().rev() {
            let text = fs::read_to_string(file)?;
            let link = text.lines().find(|line| line.starts_with("http") && line.contains(page));
            if let (true, Some(link)) = (text.contains(&format!("To: {to}")), link) {
                return Ok(link.trim().to_owned());
            }
        }
        if begin.elapsed() > Duration::from_secs(10) {
            return Err(format!("no message to {to} with a link to {page}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
