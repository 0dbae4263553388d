//! End-to-end tests of the platform's pages and of the explorer in a real browser.

mod explorer;
mod recovery;
mod shop;
mod tab;

use std::fs;

use std::process::Command;

use base64::Engine;
use serde_json::json;

use crate::http::Server;
use crate::worker::SECRETS;
use crate::{Outcome, programs, run as execute, target};
use recovery::mailed;
use tab::{Result, Tab};

/// A PNG of one pixel, in base64.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const PASSWORD: &str = "correct horse battery";
/// Markup that must never run, put into every text field of the API.
const ATTACK: &str =
    "<img src=x onerror=\"window.attacked=1\"><script>window.attacked=1</script>\"'><svg onload=window.attacked=1>";

/// Runs both, or the explorer's alone (`explorer`).
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let chromium = chromium()?;
    let shots = std::path::absolute(target().join("screenshots"))?;
    if shots.exists() {
        fs::remove_dir_all(&shots)?;
    }
    fs::create_dir_all(&shots)?;
    match arguments {
        [] => platform(&chromium, &shots)?,
        [name] if name == "explorer" => {}
        _ => return Err(format!("unknown arguments {arguments:?}: use none, or explorer").into()),
    }
    let taken = explorer::run(&chromium, &shots)?;
    println!("the explorer is as expected; {taken} screenshots in {}", shots.display());
    Ok(())
}

fn platform(chromium: &str, shots: &std::path::Path) -> Outcome {
    // Tests that each way out of the browser is blocked.
    execute(programs::test("isobar-objects", "chromium")?.env("CHROMIUM", chromium_path()?))?;
    let program = programs::program("platform")?;
    let state = target().join("browser-state");
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    fs::create_dir_all(&state)?;
    let mut command = Command::new(program);
    let server = Server::start(command.args(["--port", "0", "--root"]).arg(state.join("root")).envs(SECRETS))?;
    let mut walk = Walk {
        tab: Tab::open(chromium, &state.join("profile"))?,
        // Not an IP address: `Secure` cookies work over https and on localhost.
        origin: format!("http://localhost:{}", server.address.rsplit(':').next().unwrap_or_default()),
        shots: shots.to_owned(),
        taken: 0,
    };
    walk.outside()?;
    walk.set_up()?;
    walk.resources()?;
    walk.keys_chat_settings()?;
    walk.media(&state)?;
    walk.mcp_and_browser()?;
    walk.team_and_call(chromium, &state)?;
    walk.attacks()?;
    walk.phone()?;
    walk.recovery(&state)?;
    walk.out_and_in()?;
    println!("{} pages are as expected; screenshots in {}", walk.taken, shots.display());
    Ok(())
}

struct Walk {
    tab: Tab,
    origin: String,
    shots: std::path::PathBuf,
    taken: usize,
}

impl Walk {
    /// Visits the public pages.
    fn outside(&mut self) -> Result<()> {
        self.tab.size(1280, 900)?;
        self.visit("home", "/", "Stories with an animal heart")?;
        self.visit("privacy", "/legal/privacy", "Privacy")?;
        self.visit("api", "/api/docs", "support_tickets")?;
        self.tab.go(&format!("{}/nowhere", self.origin))?;
        self.tab.shows("Page not found")?;
        self.shoot("missing")?;
        self.tab.complaints.clear(); // the browser calls a page's own 404 an error
        Ok(())
    }

    /// Signs the first owner up by the link that the server prints at its start.
    fn set_up(&mut self) -> Result<()> {
        self.tab.go(&format!("{}/dashboard/setup#{}", self.origin, SECRETS[1].1))?;
        self.tab.shows("Create the first account")?;
        let fields = [
            ("name", "Ada"),
            ("email", "ada@example.com"),
            ("password", PASSWORD),
            ("team", "Inner Animal"),
            ("slug", "iam"),
        ];
        self.tab.fill("#setup", &fields)?;
        self.shoot("setup")?;
        self.tab.click("#setup button")?;
        self.tab.shows("Ada, owner of Inner Animal")?;
        self.visit("overview", "/dashboard/", "/api/auth/signup")
    }

    fn resources(&mut self) -> Result<()> {
        self.visit("no-tickets", "/dashboard/resources?resource=support_tickets", "No support tickets yet.")?;
        self.tab.click("#new")?;
        self.tab.shows("New: support tickets")?;
        self.tab.fill("#editor form", &[("subject", "The printer burns"), ("priority", "9")])?;
        // Disable the browser's validation, so that the API's is tested.
        self.tab.run("document.querySelector('#editor form').noValidate = true; 0")?;
        self.tab.click("#editor button[value=save]")?;
        self.tab.shows("priority must be an integer from 1 to 5")?;
        self.shoot("refused")?;
        self.tab.complaints.clear(); // the browser calls the 400 an error
        self.tab.fill("#editor form", &[("priority", "5")])?;
        self.tab.click("#editor button[value=save]")?;
        self.tab.until("the form is gone", "!document.getElementById('editor').open")?;
        self.tab.shows("The printer burns")?;
        self.tab.click("button[aria-label='Change The printer burns']")?;
        self.tab.fill("#editor form", &[("status", "closed"), ("subject", "The printer rests")])?;
        self.shoot("change")?;
        self.tab.click("#editor button[value=save]")?;
        self.tab.shows("The printer rests")?;
        self.tab.fill("#choose", &[("q", "rest")])?;
        self.tab.click("#choose button")?;
        self.tab.shows("The printer rests")?;
        self.shoot("tickets")?;
        self.tab.click("button[aria-label='Delete The printer rests']")?;
        self.tab.shows("No support tickets yet.")?;
        self.visit("credentials", "/dashboard/resources?resource=credentials", "No credentials yet.")?;
        self.tab.click("#new")?;
        self.tab.fill("#editor form", &[("name", "SMTP"), ("secret", "a secret of ours")])?;
        self.tab.click("#editor button[value=save]")?;
        self.tab.shows("sealed")?;
        self.calm()
    }

    fn keys_chat_settings(&mut self) -> Result<()> {
        self.visit("no-keys", "/dashboard/keys", "No keys yet")?;
        self.tab.fill("#new", &[("name", "CI")])?;
        self.tab.click("#new button")?;
        self.tab.shows("Copy the key now")?;
        self.shoot("keys")?;
        self.visit("chat", "/dashboard/chat?room=xtask", "Here now: Ada")?;
        self.tab.fill("#say", &[("text", "hello from the browser")])?;
        self.tab.click("#say button")?;
        self.tab.shows("hello from the browser")?;
        self.tab.run("window.prompt = () => 'hello, changed'; 0")?;
        self.tab.click("#log button[aria-label^=Edit]")?;
        self.tab.shows("hello, changed")?;
        self.shoot("chat-changed")?;
        self.tab.click("#log button[aria-label^=Delete]")?;
        self.tab.shows("deleted")?;
        self.visit("settings", "/dashboard/settings", "No sign-in provider is configured")?;
        for theme in ["dark", "forest", "ocean", "contrast", "light"] {
            self.tab.click(&format!("#themes input[value={theme}]"))?;
            let sheet = format!("document.getElementById('theme').href.endsWith('/themes/{theme}.css')");
            self.tab.until(theme, &sheet)?;
            self.shoot(&format!("theme-{theme}"))?;
        }
        self.tab.run("localStorage.removeItem('theme'); 0")?;
        self.calm()
    }

    /// Uploads a picture, shows it, makes it public, links to it, and deletes it.
    fn media(&mut self, state: &std::path::Path) -> Result<()> {
        self.visit("no-media", "/dashboard/media", "No files yet")?;
        let picture = state.join("mark.png");
        fs::write(&picture, base64::engine::general_purpose::STANDARD.decode(PICTURE)?)?;
        self.tab.choose("#upload input", &picture)?;
        self.tab.until("the picture", "document.querySelector('#gallery img')?.naturalWidth === 1")?;
        self.tab.click("button[aria-label='Make public mark.png']")?;
        self.tab.until(
            "that it is public",
            "document.querySelector(\"button[aria-label='Make private mark.png']\") !== null",
        )?;
        self.tab.click("button[aria-label='Link mark.png']")?;
        self.tab.shows("Link, valid until")?;
        self.shoot("media")?;
        let lie = state.join("lie.png");
        fs::write(&lie, "<html>this is no picture</html>")?;
        self.tab.choose("#upload input", &lie)?;
        self.tab.shows("lie.png: the content is not image/png")?;
        self.shoot("media-refused")?;
        self.tab.complaints.clear(); // the browser calls the 415 an error
        self.tab.click("button[aria-label='Delete mark.png']")?;
        self.tab.shows("No files yet")?;
        self.calm()
    }

    /// Calls MCP tools in both protocol revisions, and renders pages.
    fn mcp_and_browser(&mut self) -> Result<()> {
        self.visit("mcp", "/dashboard/mcp", "describe_resources")?;
        for revision in ["2025-11-25", "2026-07-28"] {
            self.tab.fill("#revision", &[("revision", revision)])?;
            self.tab.click("#revision button")?;
            let told = if revision.starts_with("2025") { "session " } else { "supports 2026-07-28" };
            self.tab.shows(told)?;
            self.tab.until("the tools", "document.querySelectorAll('#tools button').length === 6")?;
            self.tab.click("#tools li:nth-child(1) button")?;
            self.tab.click("#call button")?;
            self.tab
                .until("the answer", "document.getElementById('answer').textContent.includes('support_tickets')")?;
            self.shoot(&format!("mcp-{revision}"))?;
        }
        self.visit("browser", "/dashboard/browser", "No browser is open")?;
        // Pages on this machine cannot be rendered.
        self.tab.fill("#render", &[("url", &format!("{}/", self.origin))])?;
        self.tab.click("#render button")?;
        self.tab.shows("is not public")?;
        self.tab.complaints.clear(); // the browser calls the 403 an error
        let script = "fetch('/api/sessions/browser/mine/screenshot', {method: 'POST', \
            headers: {'content-type': 'application/json'}, body: JSON.stringify({html: '<h1>Hello</h1>', width: 320, height: 200})})\
            .then(async (it) => `${it.status} ${it.headers.get('content-type')} ${(await it.blob()).size > 500}`)";
        let made = self.tab.run(script)?;
        if made != "200 image/png true" {
            return Err(format!("the picture of a page: {made}").into());
        }
        let script = "fetch('/api/sessions/browser/mine/pdf', {method: 'POST', \
            headers: {'content-type': 'application/json'}, body: JSON.stringify({html: '<h1>Hello</h1>'})})\
            .then(async (it) => (await it.text()).slice(0, 5))";
        let made = self.tab.run(script)?;
        if made != "%PDF-" {
            return Err(format!("the document of a page: {made}").into());
        }
        // Requests of a rendered page are checked, too: an image in it does not reach this machine.
        let script = format!(
            "fetch('/api/sessions/browser/mine/content', {{method: 'POST', \
            headers: {{'content-type': 'application/json'}}, body: JSON.stringify({{html: `<img src='{}/images/mark-0cf672fd.svg' onload='document.title=1' \
            onerror='document.body.append(\"kept out\")'>`, wait_ms: 500}})}}).then((it) => it.text())",
            self.origin
        );
        let made = self.tab.run(&script)?;
        if !made.as_str().is_some_and(|html| html.contains("kept out</body>")) {
            return Err(format!("a page reached this machine: {made}").into());
        }
        self.visit("browser-open", "/dashboard/browser", "Open, 3 pages rendered")?;
        self.tab.click("#close")?;
        self.tab.shows("No browser is open")?;
        self.calm()
    }

    /// Bob joins by invitation in a second browser; then both connect a call through its room.
    fn team_and_call(&mut self, chromium: &str, state: &std::path::Path) -> Result<()> {
        self.visit("team", "/dashboard/team", "Ada")?;
        self.tab.fill("#invite", &[("email", "bob@example.com")])?;
        self.tab.click("#invite button")?;
        self.tab.shows("We have sent an invitation to bob@example.com")?;
        self.shoot("invited")?;
        let link = mailed(state, "bob@example.com", "/dashboard/join#")?;
        let mut bob = Walk {
            tab: Tab::open(chromium, &state.join("bob"))?,
            origin: self.origin.clone(),
            shots: self.shots.clone(),
            taken: 0,
        };
        bob.tab.size(1280, 900)?;
        bob.tab.go(&link)?;
        bob.tab.shows("bob@example.com is invited to join Inner Animal as member.")?;
        bob.shoot("join")?;
        bob.tab.fill("#join", &[("name", "Bob"), ("password", PASSWORD)])?;
        bob.tab.click("#join button")?;
        bob.tab.shows("Bob, member of Inner Animal")?;

        bob.visit("bob-chat", "/dashboard/chat?room=both", "Here now: Bob")?;
        self.visit("chat-both", "/dashboard/chat?room=both", "Here now: Bob, Ada")?;
        self.tab.fill("#say", &[("text", "hello Bob")])?;
        self.tab.click("#say button")?;
        bob.tab.shows("hello Bob")?;
        self.tab.shows("Read.")?;

        self.visit("call", "/dashboard/call?room=both", "You are not in the call.")?;
        bob.visit("bob-call", "/dashboard/call?room=both", "You are not in the call.")?;
        // The smaller id and the first offer are random, so repeat.
        for round in 0..10 {
            for walk in [&mut *self, &mut bob] {
                if round > 0 {
                    walk.tab.click("#leave")?;
                }
                walk.tab.click("#join")?;
                walk.tab.shows("You are in the call.")?;
            }
            self.tab.until("Bob's browser", &connected("Bob"))?;
            bob.tab.until("Ada's browser", &connected("Ada"))?;
        }
        self.tab.fill("#say", &[("text", "from browser to browser")])?;
        self.tab.click("#say button")?;
        bob.tab.shows("Ada: from browser to browser")?;
        bob.tab.click("#camera")?;
        self.tab.until("Bob's picture", "document.querySelector(\"video[aria-label='Bob']\").videoWidth > 0")?;
        self.shoot("call-connected")?;
        bob.tab.click("#leave")?;
        self.tab.until("that Bob has left", "document.querySelector(\"video[aria-label='Bob']\") === null")?;
        self.calm()?;
        bob.calm()?;
        self.taken += bob.taken;
        println!("two browsers connected a call and its data channel through the room");
        Ok(())
    }

    /// Creates each resource with the attack in all of its texts, and opens its page: nothing of it may run.
    fn attacks(&mut self) -> Result<()> {
        let script = r#"(async () => {
            const attack = ATTACK, made = {}, names = [];
            const api = await (await fetch("/api/openapi.json")).json();
            const kinds = Object.keys(api.paths).filter((path) => api.paths[path].post?.operationId?.startsWith("create_"));
            kinds.sort((a, b) => Number(/tokens|deployments/.test(a)) - Number(/tokens|deployments/.test(b)));
            for (const path of kinds) {
                const schema = api.components.schemas[api.paths[path].post.requestBody.content["application/json"].schema.$ref.split("/").pop()];
                const body = {};
                for (const [name, property] of Object.entries(schema.properties)) {
                    const one = property.anyOf?.[0] ?? property;
                    if (one.enum) { body[name] = one.enum[0]; continue; }
                    if (name === "worker_id") body[name] = made["/workers"];
                    else if (name === "connection_id") body[name] = made["/oauth_connections"];
                    else if (name.endsWith("_id") || one.format) continue;
                    else if (one.pattern?.includes("a-z0-9-")) body[name] = "attacked";
                    else if (one.pattern?.includes("https?")) body[name] = "https://example.com/'onload=alert(1)";
                    else if (one.type === "string") body[name] = attack.slice(0, one.maxLength ?? 8000);
                    else if (one.type === "object") body[name] = { [attack]: attack };
                    else if (one.type === "array") body[name] = [attack];
                    else if (Array.isArray(one.type)) body[name] = attack;
                }
                const answer = await fetch(`/api${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
                if (answer.status !== 201) throw new Error(`${path}: ${await answer.text()}`);
                made[path] = (await answer.json()).id;
                names.push(path.slice(1));
            }
            return names;
        })()"#;
        let names = self.tab.run(&script.replace("ATTACK", &json!(ATTACK).to_string()))?;
        let names: Vec<String> = serde_json::from_value(names)?;
        if names.len() < 13 {
            return Err(format!("only {names:?} took the attack").into());
        }
        for name in &names {
            self.tab.go(&format!("{}/dashboard/resources?resource={name}", self.origin))?;
            self.tab.until(name, "document.querySelectorAll('#rows button').length > 0")?;
            self.tab.click("#rows button[aria-label^=Change]")?;
            self.tab.until("the form", "document.getElementById('editor').open")?;
            if self.tab.run("window.attacked ?? document.querySelectorAll('main img, main svg, main script').length")?
                != 0
            {
                return Err(format!("{name}: what somebody wrote runs in the page").into());
            }
        }
        self.shoot("attacked")?;
        self.calm()?;
        println!("the attack in {} resources does not run", names.len());
        Ok(())
    }

    fn phone(&mut self) -> Result<()> {
        self.tab.size(390, 844)?;
        for (name, path, text) in [
            ("phone-home", "/", "Stories with an animal heart"),
            ("phone-overview", "/dashboard/", "Ada, owner"),
            ("phone-resources", "/dashboard/resources?resource=prompts", "Actions"),
            ("phone-media", "/dashboard/media", "Drop files here"),
            ("phone-chat", "/dashboard/chat", "Here now"),
            ("phone-call", "/dashboard/call", "You are not in the call."),
            ("phone-mcp", "/dashboard/mcp", "describe_resources"),
            ("phone-browser", "/dashboard/browser", "No browser is open"),
            ("phone-team", "/dashboard/team", "Bob"),
            ("phone-settings", "/dashboard/settings", "Theme"),
        ] {
            self.visit(name, path, text)?;
            let wide = self.tab.run("document.documentElement.scrollWidth > 390")?;
            if wide == true {
                return Err(format!("{path} is wider than a phone").into());
            }
        }
        self.tab.size(1280, 900)
    }

    fn out_and_in(&mut self) -> Result<()> {
        let navigation =
            "[...document.querySelectorAll('nav a')].map((it) => it.textContent).join() === 'Home,Sign in'";
        let cannot_sign_out = "document.getElementById('sign-out') === null";
        self.tab.click("#sign-out")?;
        self.tab.until("the sign-in page", "location.pathname === '/dashboard/login'")?;
        self.tab.until("the navigation of visitors", navigation)?;
        self.tab.until("no button to sign out", cannot_sign_out)?;
        self.tab.go(&format!("{}/", self.origin))?;
        self.tab.until("the navigation of visitors at home", navigation)?;
        self.tab.go(&format!("{}/dashboard/keys", self.origin))?;
        self.tab.until("the way back", "location.search === '?next=%2Fdashboard%2Fkeys'")?;
        self.tab.complaints.clear(); // the browser calls the 401 an error
        self.tab.shows("Sign in")?;
        self.shoot("login")?;
        self.tab.fill("#login", &[("email", "ada@example.com"), ("password", PASSWORD)])?;
        self.tab.click("#login button")?;
        self.tab.shows("Create key")?;
        self.tab.until("the button to sign out", "document.getElementById('sign-out') !== null")?;
        self.calm()
    }

    fn visit(&mut self, name: &str, path: &str, text: &str) -> Result<()> {
        self.tab.go(&format!("{}{path}", self.origin))?;
        self.tab.shows(text)?;
        self.calm()?;
        self.shoot(name)
    }

    fn shoot(&mut self, name: &str) -> Result<()> {
        self.taken += 1;
        self.tab.screenshot(&self.shots.join(format!("{name}.png")))
    }

    /// Asserts that the page's scripts reported no errors.
    fn calm(&mut self) -> Result<()> {
        match self.tab.complaints.is_empty() {
            true => Ok(()),
            false => Err(format!("the console has errors: {:#?}", self.tab.complaints).into()),
        }
    }
}

/// Returns a script that checks that the call to the other participant is connected.
fn connected(name: &str) -> String {
    let script =
        "[...document.querySelectorAll('#people figcaption')].some((it) => it.textContent === NAME + 'connected')";
    script.replace("NAME", &json!(name).to_string())
}

/// Returns the path of the browser.
pub(crate) fn chromium_path() -> Result<String> {
    let name = chromium()?;
    let path = Command::new("which").arg(&name).output()?;
    Ok(String::from_utf8(path.stdout)?.trim().to_owned())
}

/// Returns the browser's command; installs Debian's package if it is missing.
fn chromium() -> Result<String> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = || ["chromium", "chromium-browser", "google-chrome"].into_iter().find(works);
    if found().is_none() {
        println!("installing Debian's chromium");
        execute(Command::new("apt-get").args(["update", "-q"]))?;
        execute(Command::new("apt-get").args(["install", "-y", "-q", "--no-install-recommends", "chromium"]))?;
    }
    Ok(found().ok_or("there is no Chromium, and apt-get brought none")?.to_owned())
}
