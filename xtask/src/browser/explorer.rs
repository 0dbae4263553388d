//! The explorer of `isobar serve` in a real browser: each section, in both schemes, judged by axe-core.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Walk;
use super::shop::Shop;
use super::tab::{Result, Tab};
use crate::http::Server;
use crate::{npm, target};

const AXE: &str = "axe-core@4.14.1";
/// Id of the database.
const SHOP: &str = "6f1c2b3a-0000-4000-8000-00000000e001";
/// Time within which events of requests are to be read.
const PATIENCE: Duration = Duration::from_secs(20);

/// Walks through the explorer, first read-only, then writable. Returns the number of screenshots.
pub(super) fn run(chromium: &str, shots: &Path) -> Result<usize> {
    let tools = std::path::absolute(target().join("axe"))?;
    npm::install(&tools, &[AXE])?;
    let axe = fs::read_to_string(tools.join("node_modules/axe-core/axe.min.js"))?;
    let shop = Shop::build()?;
    let profile = shop.folder.join("profile");
    let mut walk = Explored {
        walk: Walk { tab: Tab::open(chromium, &profile)?, origin: String::new(), shots: shots.to_owned(), taken: 0 },
        axe,
        judged: 0,
    };
    let token = shop.token("r2:read,r2:write,d1:write,analytics:read,sessions:read")?;
    {
        let _server = walk.open(&shop, &[])?;
        walk.signs_in(&token)?;
        walk.sections()?;
        walk.buckets()?;
        walk.databases()?;
        walk.sessions()?;
        walk.datasets()?;
        walk.backups()?;
        walk.refuses_writes()?;
        walk.phone()?;
        walk.signs_out()?;
    }
    let _server = walk.open(&shop, &["--explorer-write"])?;
    walk.signs_in(&token)?;
    walk.writes(&shop)?;
    walk.travels()?;
    println!("axe-core finds nothing wrong in {} views of the explorer", walk.judged);
    Ok(walk.walk.taken)
}

/// A browser in the explorer.
struct Explored {
    walk: Walk,
    axe: String,
    judged: usize,
}

impl Explored {
    /// Serves the shop with the explorer, and visits the site, so that there are requests in the log.
    fn open(&mut self, shop: &Shop, options: &[&str]) -> Result<Server> {
        let mut command = Command::new(&shop.isobar);
        command.current_dir(&shop.folder).args(["serve", "--port", "0", "--explorer", "127.0.0.1:0"]);
        command.args(["--backups", "backup"]);
        let server = Server::start(command.args(options).env("RUST_LOG", "error"))?;
        let said = server.said("explorer on ").ok_or("isobar serve does not print the explorer's address")?;
        self.walk.origin = said.split(' ').next().unwrap_or_default().to_owned();
        for path in ["/", "/", "/index.html", "/nowhere"] {
            server.get(path)?;
        }
        Ok(server)
    }

    /// Signs in, after a token that is none.
    fn signs_in(&mut self, token: &str) -> Result<()> {
        let Walk { tab, origin, .. } = &mut self.walk;
        tab.size(1280, 900)?;
        tab.go(&format!("{origin}/"))?;
        tab.shows("Sign in")?;
        tab.fill("#sign-in", &[("token", "isobar_nothing")])?;
        tab.click("#sign-in button")?;
        tab.shows("The token is not valid, or no longer.")?;
        tab.complaints.clear(); // the browser calls the 401 an error
        self.both("explorer-sign-in")?;
        self.walk.tab.fill("#sign-in", &[("token", token)])?;
        self.walk.tab.click("#sign-in button")?;
        self.walk.tab.shows("Your key")?;
        self.kept_out()
    }

    /// Visits every section.
    fn sections(&mut self) -> Result<()> {
        self.both("explorer-overview")?;
        self.view("buckets", "shop-assets")?;
        self.view("databases", "6f1c2b3a-0000-4000-8000-00000000e001")?;
        self.view("sessions", "Room")?;
        self.view("datasets", "shop_events")?;
        self.view("deploys", "The second one")?;
        self.view("api", "/client/v4/user/tokens/verify")?;
        self.walk.tab.click("details.operation summary")?;
        self.walk.tab.click("details.operation button")?;
        self.walk.tab.shows("This API Token is valid and active")?;
        self.requests()
    }

    /// Waits for the events of the requests, and searches among them.
    fn requests(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        self.walk.tab.go(&format!("{}/#/requests", self.walk.origin))?;
        self.walk.tab.shows("What the application has answered")?;
        while self.walk.tab.run("document.body.innerText.includes('95 % within')")? != true {
            if Instant::now() > end {
                return Err("no request is in the log".into());
            }
            self.walk.tab.run("[...document.querySelectorAll('#search button')].at(-1).click()")?;
            std::thread::sleep(Duration::from_millis(300));
        }
        self.both("explorer-requests")?;
        self.walk.tab.fill("#search", &[("status", "4")])?;
        self.walk.tab.click("#search button")?;
        let all_failed = "document.querySelectorAll('#log tbody tr').length > 0 && \
            [...document.querySelectorAll('#log tbody tr')].every((row) => row.innerText.includes('404'))";
        self.walk.tab.until("the requests that were not found", all_failed)
    }

    fn buckets(&mut self) -> Result<()> {
        self.view("buckets/shop-assets", "photos/")?;
        // The arrow keys go from row to row.
        let script = "(() => { const [first, second] = document.querySelectorAll('tbody a'); first.focus(); \
            first.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true })); return document.activeElement === second; })()";
        if self.walk.tab.run(script)? != true {
            return Err("the arrow keys do not go to the next row".into());
        }
        self.view("buckets/shop-assets?prefix=photos%2F", "mark.png")?;
        self.view("buckets/shop-assets?prefix=photos%2F&key=photos%2Fmark.png", "Storage class")?;
        self.walk.tab.until("the picture", "document.querySelector('.preview img')?.naturalWidth === 1")?;
        self.view("buckets/shop-assets?key=photos%2Fpage.html", "<!doctype html>")?;
        self.kept_out()?;
        self.view("buckets/shop-assets?key=notes%2Freadme.txt", "The first 64 KiB of")?;
        self.view("buckets/shop-assets?key=notes%2Fbytes.bin", "Not text: its first bytes.")?;
        self.walk.tab.run(
            "[...document.querySelectorAll('main button')].find((it) => it.textContent === 'Create link').click()",
        )?;
        self.walk.tab.shows("Whoever has it can download the object.")?;
        let script = "fetch(document.getElementById('link').value).then(async (it) => \
            `${it.status} ${it.headers.get('content-disposition').split(';')[0]} ${(await it.arrayBuffer()).byteLength}`)";
        let downloaded = self.walk.tab.run(script)?;
        if downloaded != "200 attachment 256" {
            return Err(format!("the link gives {downloaded}").into());
        }
        self.both("explorer-link")
    }

    fn databases(&mut self) -> Result<()> {
        let place = format!("databases/{SHOP}");
        self.view(&place, "large_orders")?;
        self.view(&format!("{place}/table/orders"), "Rows 1 to 50")?;
        self.walk.tab.shows("orders_by_customer")?;
        self.kept_out()?;
        self.view(&format!("{place}/table/orders?sort=id&order=desc"), "9007199254740993")?;
        self.view(&format!("{place}/table/orders?where=total+%3C+2+--+a+comment&from=0"), "Rows 1 to 3")?;
        self.view(&format!("{place}/table/orders?where=nowhere+%3D+1"), "no such column")?;
        self.walk.tab.complaints.clear(); // the browser calls the 400 an error
        self.view(&format!("{place}/sql"), "Ctrl+Enter")?;
        let run = |sql: &str, button: &str| {
            format!(
                "document.getElementById('sql').value = {}; document.getElementById('{button}').click()",
                json!(sql)
            )
        };
        let spared = "import('/format.js').then(({ csv }) => csv(['a', '@b'], [['=1', 'x;=1'], ['-1', -1]]))";
        let spared = self.walk.tab.run(spared)?;
        if spared != "a,'@b\r\n'=1,\"x;=1\"\r\n'-1,-1\r\n" {
            return Err(format!("the CSV is {spared}").into());
        }
        self.walk.tab.run(&run("SELECT count(*) AS customers FROM customers; SELECT * FROM orders LIMIT 3", "run"))?;
        self.walk.tab.shows("Result 2")?;
        self.walk.tab.shows("130")?;
        self.kept_out()?;
        self.both("explorer-sql")?;
        let joined = "SELECT c.name, sum(o.total) FROM customers c JOIN orders o ON o.customer = c.id GROUP BY c.id";
        self.walk.tab.run(&run(joined, "explain"))?;
        self.walk.tab.shows("USING INDEX orders_by_customer")?;
        self.both("explorer-plan")?;
        // What was run is offered again, also after the page was left.
        self.walk.tab.go(&format!("{}/#/buckets", self.walk.origin))?;
        self.view(&format!("{place}/sql"), "History")?;
        self.walk.tab.until("the history", "document.querySelectorAll('.history button').length === 2")?;
        self.view(&format!("{place}/export"), "One file of SQL")?;
        // A download of the browser's is not followed here: its content is.
        self.walk.tab.run("window.saved = new Promise((done) => { URL.createObjectURL = (blob) => (blob.text().then(done), 'data:,'); }); 0")?;
        self.walk.tab.click("#export")?;
        let saved = self.walk.tab.run("window.saved")?;
        if !saved.as_str().is_some_and(|sql| sql.contains("CREATE TABLE customers") && sql.contains("INSERT INTO")) {
            return Err(format!("the export is {saved}").into());
        }
        self.walk.calm()
    }

    fn sessions(&mut self) -> Result<()> {
        self.view("sessions/Room", "lobby")?;
        self.kept_out()?;
        self.view("sessions/Room/lobby", "Key-value pairs")?;
        self.walk.tab.click("#run")?;
        self.walk.tab.shows("/hello")?;
        self.both("explorer-session-sql")?;
        let pairs =
            "[...document.querySelectorAll('tbody button')].find((it) => it.textContent === 'Key-value pairs').click()";
        self.walk.tab.run(pairs)?;
        self.walk.tab.shows("\"/hello\"")?;
        self.walk.tab.run(
            "document.getElementById('sql').value = 'DELETE FROM messages'; document.getElementById('run').click()",
        )?;
        self.walk.tab.shows("the statement writes, and only reading was asked for")?;
        self.walk.tab.complaints.clear(); // the browser calls the 400 an error
        Ok(())
    }

    fn datasets(&mut self) -> Result<()> {
        self.view("datasets/shop_events", "Workers Analytics Engine")?;
        self.walk
            .tab
            .run("[...document.querySelectorAll('main button')].find((it) => it.textContent === 'By hour').click()")?;
        self.walk.tab.until("the line chart", "document.querySelector('#drawn svg .line') !== null")?;
        self.walk.tab.run("document.getElementById('sql').value = 'SELECT blob4 AS status, sum(double4) AS requests FROM shop_events GROUP BY status ORDER BY status'; \
            document.getElementById('run').click()")?;
        self.walk
            .tab
            .until("the answer", "[...document.querySelectorAll('td, th')].some((it) => it.textContent === '404')")?;
        self.walk.tab.run("(() => { const kind = document.getElementById('kind'); kind.value = 'bars'; kind.dispatchEvent(new Event('change')); })()")?;
        self.walk.tab.until("the bars", "document.querySelectorAll('#drawn rect.mark').length >= 2")?;
        self.both("explorer-chart")?;
        let many = "import('/chart.js').then(({ chart }) => { const values = Array.from({ length: 300000 }, (_, index) => index); \
            return chart('line', { labels: values.map(String), places: values, isTimed: false, series: [{ name: 'n', values }] }).tagName; })";
        if self.walk.tab.run(many)? != "FIGURE" {
            return Err("an answer of many rows cannot be drawn".into());
        }
        self.view("datasets/shop_events/tail", "Live")?;
        self.walk.tab.until("the newest points", "document.querySelectorAll('#tail tbody tr').length > 0")?;
        self.walk.calm()
    }

    /// Looks at backups, of which the one of the session objects was made before, and verifies them.
    fn backups(&mut self) -> Result<()> {
        self.view("backups", "Session objects")?;
        self.view(&format!("backups/databases/{SHOP}"), "Nothing is backed up yet.")?;
        if self.walk.tab.run("document.getElementById('run') === null")? != true {
            return Err("a read-only explorer offers runs of backups".into());
        }
        self.walk.tab.click("#verify")?;
        self.walk.tab.shows("there is no backup")?;
        self.both("explorer-backup-missing")?;
        self.view("backups/sessions/Room", "none since the server's start")?;
        self.walk.tab.click("#verify")?;
        self.walk.tab.shows("and all is well")?;
        self.both("explorer-backup-verified")?;
        self.walk.tab.click("tbody button")?;
        self.walk.tab.shows("isobar --root ./restored sessions restore Room backup/sessions --run")?;
        self.both("explorer-backup-command")?;
        self.view(&format!("databases/{SHOP}/history"), "isobar d1 time-travel restore")?;
        self.walk.calm()
    }

    /// Checks that the server refuses what the page does not offer.
    fn refuses_writes(&mut self) -> Result<()> {
        self.view("databases/6f1c2b3a-0000-4000-8000-00000000e001/sql", "History")?;
        self.walk.tab.run(
            "document.getElementById('sql').value = 'DELETE FROM orders'; document.getElementById('run').click()",
        )?;
        self.walk.tab.shows("read-only here")?;
        self.both("explorer-refused")?;
        self.walk.tab.complaints.clear(); // the browser calls the 403 an error
        self.view("buckets/shop-assets", "photos/")?;
        if self.walk.tab.run("document.getElementById('upload') === null")? != true {
            return Err("a read-only explorer offers uploads".into());
        }
        Ok(())
    }

    /// Visits views at a phone's width.
    fn phone(&mut self) -> Result<()> {
        self.walk.tab.size(390, 844)?;
        for (place, text) in [
            ("", "Your key"),
            ("buckets/shop-assets?prefix=many%2F", "file-001.txt"),
            ("databases/6f1c2b3a-0000-4000-8000-00000000e001/table/orders", "Rows 1 to 50"),
            ("databases/6f1c2b3a-0000-4000-8000-00000000e001/sql", "Ctrl+Enter"),
            ("requests", "95 % within"),
        ] {
            self.walk.tab.go(&format!("{}/#/{place}", self.walk.origin))?;
            self.walk.tab.shows(text)?;
            let name = format!(
                "explorer-phone-{}",
                place.split(['?', '/']).next().filter(|name| !name.is_empty()).unwrap_or("overview")
            );
            self.walk.shoot(&name)?;
            if self.walk.tab.run("document.documentElement.scrollWidth > 390")? == true {
                return Err(format!("{place:?} is wider than a phone").into());
            }
        }
        self.walk.tab.size(1280, 900)
    }

    fn signs_out(&mut self) -> Result<()> {
        self.walk.tab.click("#sign-out")?;
        self.walk.tab.shows("Token")?;
        let left = self.walk.tab.run(
            "`${sessionStorage.length} ${document.cookie.length} ${JSON.stringify(localStorage).includes('isobar_')}`",
        )?;
        if left != "0 0 false" {
            return Err(format!("after signing out the browser keeps {left}").into());
        }
        self.walk.calm()
    }

    /// Uploads, replaces and deletes an object, changes a row, and rolls back.
    fn writes(&mut self, shop: &Shop) -> Result<()> {
        let file = shop.folder.join("new file.txt");
        for (content, shown) in [("one", "1 file uploaded"), ("two two", "Replace new file.txt?")] {
            fs::write(&file, content)?;
            self.view("buckets/shop-assets?prefix=uploads%2F", "Upload files")?;
            self.walk.tab.choose("#upload", &file)?;
            self.walk.tab.shows(shown)?;
        }
        self.both("explorer-replace")?;
        self.walk.tab.complaints.clear(); // the browser calls the 412 an error
        self.walk.tab.click("dialog button[value=yes]")?;
        self.walk.tab.until("that the dialog is gone", "document.querySelector('dialog') === null")?;
        self.walk.tab.shows("1 file uploaded")?;
        self.view("buckets/shop-assets?key=uploads%2Fnew+file.txt", "two two")?;
        self.walk.tab.click("button.danger")?;
        self.walk.tab.shows("The object is deleted for good.")?;
        self.walk.tab.click("dialog button[value=yes]")?;
        self.walk.tab.shows("Nothing begins with this.")?;
        // A link of somebody else's reads, and the page runs it unasked.
        let link =
            "databases/6f1c2b3a-0000-4000-8000-00000000e001/table/customers?where=1%29%3B+DELETE+FROM+customers%3B+--";
        self.view(link, "read-only here")?;
        self.walk.tab.complaints.clear(); // the browser calls the 403 an error
        self.view("databases/6f1c2b3a-0000-4000-8000-00000000e001/table/customers", "Rows 1 to 50")?;
        self.view("databases/6f1c2b3a-0000-4000-8000-00000000e001/sql", "Ctrl+Enter")?;
        self.walk.tab.run("document.getElementById('sql').value = \"UPDATE customers SET name = 'Ada' WHERE id = 1\"; document.getElementById('run').click()")?;
        self.walk.tab.shows("1 row changed")?;
        self.view("deploys", "The first one")?;
        self.walk.tab.click("button[aria-label^=Serve]")?;
        self.walk.tab.shows("Serve this deploy?")?;
        self.walk.tab.click("dialog button[value=yes]")?;
        let is_back = "[...document.querySelectorAll('tbody tr')].some((row) => row.innerText.includes('The first one') && row.innerText.includes('Served'))";
        self.walk.tab.until("the first deploy", is_back)?;
        self.walk.calm()
    }

    /// Backs the database up, and takes it back in time and forward again.
    fn travels(&mut self) -> Result<()> {
        self.view(&format!("backups/databases/{SHOP}"), "Nothing is backed up yet.")?;
        self.walk.tab.click("#run")?;
        self.walk.tab.shows("Run of ")?;
        self.walk.tab.click("#verify")?;
        self.walk.tab.shows("and all is well")?;
        self.both("explorer-backup-run")?;
        let ada = |tab: &mut Tab| {
            let sql = "import('/api.js').then(({ read }) => read(SHOP, 'SELECT name FROM customers WHERE id = 2')).then(([{ rows }]) => rows[0][0])";
            tab.run(&sql.replace("SHOP", &format!("'{SHOP}'")))
        };
        let now = "new Date(Date.now() - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 19)";
        std::thread::sleep(Duration::from_millis(1100)); // the field has whole seconds
        let before = self.walk.tab.run(now)?;
        std::thread::sleep(Duration::from_millis(1100));
        self.view(&format!("databases/{SHOP}/sql"), "Ctrl+Enter")?;
        self.walk.tab.run("document.getElementById('sql').value = \"UPDATE customers SET name = 'Ada' WHERE id = 2\"; document.getElementById('run').click()")?;
        self.walk.tab.shows("1 row changed")?;
        self.view(&format!("databases/{SHOP}/history"), "Go back in time")?;
        self.walk.tab.fill("#travel", &[("time", before.as_str().unwrap_or_default())])?;
        for (button, name) in [("#travel button", "Customer 2"), ("#undo", "Ada")] {
            self.walk.tab.click(button)?;
            self.walk.tab.shows("Go back to this state?")?;
            self.both("explorer-travel")?;
            self.walk.tab.click("dialog button[value=yes]")?;
            self.walk.tab.until("that the dialog is gone", "document.querySelector('dialog') === null")?;
            let end = Instant::now() + PATIENCE;
            while ada(&mut self.walk.tab)? != name {
                if Instant::now() > end {
                    return Err(format!("the database has not gone to the state of {name}").into());
                }
                std::thread::sleep(Duration::from_millis(30));
            }
            self.walk.tab.shows("has gone back")?;
        }
        self.walk.calm()
    }

    /// Visits a view, looks at it in both schemes, and has axe-core judge it.
    fn view(&mut self, place: &str, text: &str) -> Result<()> {
        self.walk.tab.go(&format!("{}/#/{place}", self.walk.origin))?;
        self.walk.tab.until(text, "document.getElementById('main').getAttribute('aria-busy') === 'false'")?;
        self.walk.tab.shows(text)?;
        let name: String =
            place.chars().take_while(|char| *char != '?').map(|char| if char == '/' { '-' } else { char }).collect();
        self.both(&format!("explorer-{}", name.replace(SHOP, "shop")))
    }

    /// Takes a screenshot in each scheme, and has axe-core judge both.
    fn both(&mut self, name: &str) -> Result<()> {
        for scheme in ["dark", "light"] {
            self.walk.tab.scheme(scheme)?;
            self.walk.shoot(&format!("{name}-{scheme}"))?;
            let script = format!(
                "{}; axe.run(document, {{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }})\
                .then(({{ violations }}) => violations.map(({{ id, nodes }}) => `${{id}}: ${{nodes.map(({{ html }}) => html).join(' ')}}`))",
                self.axe
            );
            let found = self.walk.tab.run(&script)?;
            if found.as_array().is_none_or(|found| !found.is_empty()) {
                return Err(format!("axe-core, {name}, {scheme}: {found:#}").into());
            }
            self.judged += 1;
        }
        Ok(())
    }

    /// Asserts that nothing out of the data has run.
    fn kept_out(&mut self) -> Result<()> {
        let ran = self.walk.tab.run("window.attacked ?? document.querySelectorAll('main script, main svg [onload], main img[onerror], main iframe').length")?;
        if ran != 0 {
            return Err(format!("something out of the data is in the page: {ran}").into());
        }
        Ok(())
    }
}
