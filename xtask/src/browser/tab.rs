//! A tab of a headless Chromium, driven over the DevTools protocol.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::http::Ended;

pub(super) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Time limit for a page to show the expected content.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Tab {
    socket: WebSocket<TcpStream>,
    session: String,
    next: u64,
    /// Errors and warnings of the page's scripts.
    pub(super) complaints: Vec<String>,
    _browser: Ended,
}

impl Tab {
    /// Starts a browser with this folder as its profile.
    pub(super) fn open(chromium: &str, profile: &Path) -> Result<Self> {
        let mut process = Command::new(chromium)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--hide-scrollbars", "--remote-debugging-port=0"])
            // Calls on this machine only: plain addresses, as multicast DNS may be unavailable, and fake
            // cameras.
            .args([
                "--disable-features=WebRtcHideLocalIpsWithMdns",
                "--allow-loopback-in-peer-connection",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
            ])
            .arg(format!("--user-data-dir={}", std::path::absolute(profile)?.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = process.stderr.take().ok_or("a piped output is there")?;
        let browser = Ended(process);
        let mut lines = BufReader::new(stderr).lines().map_while(std::result::Result::ok);
        let url = lines.find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned));
        std::thread::spawn(move || lines.for_each(drop));
        let url = url.ok_or("chromium ended without saying where it listens")?;
        let address = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).ok_or("a ws:// address")?;
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (socket, _) = tungstenite::client(url.as_str(), stream).map_err(|error| error.to_string())?;
        let mut tab = Self { socket, session: String::new(), next: 0, complaints: Vec::new(), _browser: browser };
        let target = tab.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        tab.session = tab.call("Target.attachToTarget", attach)?["sessionId"].as_str().unwrap_or_default().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            tab.call(domain, json!({}))?;
        }
        Ok(tab)
    }

    pub(super) fn size(&mut self, width: u32, height: u32) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", size).map(drop)
    }

    /// Sets the colour scheme that the page's system prefers: `light` or `dark`.
    pub(super) fn scheme(&mut self, scheme: &str) -> Result<()> {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).map(drop)
    }

    pub(super) fn go(&mut self, url: &str) -> Result<()> {
        self.call("Page.navigate", json!({"url": url})).map(drop)
    }

    /// Waits until a script's value is true.
    pub(super) fn until(&mut self, what: &str, script: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        // A page that is being left has no answer.
        while !self.run(script).is_ok_and(|value| value == true) {
            if Instant::now() > end {
                let text = self.run("location.href + '\\n' + document.body.innerText").unwrap_or_default();
                return Err(
                    format!("{what} does not come; complaints: {:?}; the page:\n{text}", self.complaints).into()
                );
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    }

    /// Waits until the page shows a text.
    pub(super) fn shows(&mut self, text: &str) -> Result<()> {
        let script = format!("document.readyState === 'complete' && document.body.innerText.includes({})", json!(text));
        self.until(text, &script)
    }

    /// Runs a script in the page and returns its awaited value.
    pub(super) fn run(&mut self, script: &str) -> Result<Value> {
        let evaluate = json!({"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let answer = self.call("Runtime.evaluate", evaluate)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            return Err(format!("{script}: {}", thrown["exception"]["description"]).into());
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Fills in the fields of the form that a selector matches.
    pub(super) fn fill(&mut self, form: &str, fields: &[(&str, &str)]) -> Result<()> {
        for (name, value) in fields {
            let script = format!(
                "(() => {{ const field = document.querySelector({}).elements[{}]; field.value = {}; \
                 field.dispatchEvent(new Event('change')); }})()",
                json!(form),
                json!(name),
                json!(value)
            );
            self.run(&script)?;
        }
        Ok(())
    }

    /// Clicks the first element that a selector matches.
    pub(super) fn click(&mut self, selector: &str) -> Result<()> {
        self.until(selector, &format!("document.querySelector({}) !== null", json!(selector)))?;
        self.run(&format!("document.querySelector({}).click()", json!(selector))).map(drop)
    }

    /// Selects a file in the field that a selector matches.
    pub(super) fn choose(&mut self, selector: &str, file: &Path) -> Result<()> {
        let document = self.call("DOM.getDocument", json!({}))?;
        let found = json!({"nodeId": document["root"]["nodeId"], "selector": selector});
        let node = self.call("DOM.querySelector", found)?;
        let files = json!({"nodeId": node["nodeId"], "files": [std::path::absolute(file)?]});
        self.call("DOM.setFileInputFiles", files).map(drop)
    }

    pub(super) fn screenshot(&mut self, path: &Path) -> Result<()> {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}))?;
        let data = shot["data"].as_str().unwrap_or_default();
        Ok(std::fs::write(path, base64::engine::general_purpose::STANDARD.decode(data)?)?)
    }

    fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.next += 1;
        let id = self.next;
        self.send(id, method, parameters)?;
        loop {
            let message: Value = serde_json::from_str(self.socket.read()?.to_text()?)?;
            if message["id"] == id {
                if let Some(error) = message.get("error") {
                    return Err(format!("{method}: {error}").into());
                }
                return Ok(message["result"].clone());
            }
            self.hear(&message)?;
        }
    }

    fn send(&mut self, id: u64, method: &str, parameters: Value) -> Result<()> {
        let mut call = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            call["sessionId"] = json!(self.session);
        }
        Ok(self.socket.send(Message::text(call.to_string()))?)
    }

    /// Handles an event: accepts dialogs and records errors.
    fn hear(&mut self, event: &Value) -> Result<()> {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Page.javascriptDialogOpening" => {
                self.next += 1;
                self.send(self.next, "Page.handleJavaScriptDialog", json!({"accept": true}))?;
            }
            "Runtime.exceptionThrown" => self.complaints.push(parameters["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if parameters["type"] == "error" => {
                self.complaints.push(parameters["args"].to_string());
            }
            "Log.entryAdded" if parameters["entry"]["level"] == "error" => {
                self.complaints.push(parameters["entry"].to_string());
            }
            _ => {}
        }
        Ok(())
    }
}
