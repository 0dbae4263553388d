//! The conformance kit: the contract of [`BrowserEngine`], as cases that need no network.

use std::sync::Arc;

use chrono::TimeDelta;
use isobar_testkit::{Case, Failure, Report, cases, ensure, ensure_eq};

use super::{BrowserEngine, BrowserError, BrowserErrorKind, RenderFormat, RenderJob};

/// An engine; cases may share it, and close the sessions that they open.
pub type Subject = Arc<dyn BrowserEngine>;

type Outcome = Result<(), Failure>;

const PAGE: &str = "<!DOCTYPE html><title>kit</title><p>hello</p>";

/// Runs the whole kit, each case on the engine that `subject` yields.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::sync::Arc;
///
/// use isobar_objects::browser::{MemoryBrowsers, conformance};
///
/// let browsers = MemoryBrowsers::default();
/// conformance::run(async || Arc::new(browsers.clone()) as _).await.assert_green();
/// # }
/// ```
pub async fn run<F: AsyncFnMut() -> Subject>(subject: F) -> Report {
    isobar_testkit::run(&cases(), subject, |_| true).await
}

/// Every case, by group.
#[must_use]
pub fn cases() -> Vec<Case<Subject>> {
    cases! {
        "sessions" => {
            sessions_have_ids_of_their_own,
            a_closed_session_is_gone,
            closing_twice_succeeds,
        }
        "pages" => {
            content_is_the_html_of_the_page,
            a_screenshot_is_a_png,
            a_pdf_is_a_document,
            private_addresses_are_forbidden,
        }
    }
}

async fn open(browsers: &Subject) -> Result<String, BrowserError> {
    browsers.open("kit", TimeDelta::minutes(1)).await
}

/// Renders a job in a session of its own.
async fn rendered(browsers: &Subject, job: &RenderJob) -> Result<super::Rendered, BrowserError> {
    let session = open(browsers).await?;
    let rendered = browsers.render(&session, job).await;
    browsers.close(&session).await?;
    rendered
}

async fn sessions_have_ids_of_their_own(browsers: Subject) -> Outcome {
    let one = open(&browsers).await?;
    let other = open(&browsers).await?;
    browsers.close(&one).await?;
    browsers.close(&other).await?;
    ensure!(one != other);
    Ok(())
}

async fn a_closed_session_is_gone(browsers: Subject) -> Outcome {
    let session = open(&browsers).await?;
    browsers.close(&session).await?;
    let error = browsers.render(&session, &RenderJob::html(PAGE)).await.err();
    ensure_eq!(error.map(|error| error.kind()), Some(BrowserErrorKind::Gone));
    Ok(())
}

async fn closing_twice_succeeds(browsers: Subject) -> Outcome {
    let session = open(&browsers).await?;
    browsers.close(&session).await?;
    browsers.close(&session).await?;
    Ok(())
}

async fn content_is_the_html_of_the_page(browsers: Subject) -> Outcome {
    let page = rendered(&browsers, &RenderJob::html(PAGE).with_format(RenderFormat::Content)).await?;
    ensure_eq!(page.content_type, "text/html; charset=utf-8");
    let html = String::from_utf8_lossy(&page.bytes);
    ensure!(html.contains("<p>hello</p>"), "{html}");
    Ok(())
}

async fn a_screenshot_is_a_png(browsers: Subject) -> Outcome {
    let image = rendered(&browsers, &RenderJob::html(PAGE)).await?;
    ensure_eq!(image.content_type, "image/png");
    ensure!(image.bytes.starts_with(b"\x89PNG\r\n\x1a\n"));
    Ok(())
}

async fn a_pdf_is_a_document(browsers: Subject) -> Outcome {
    let document = rendered(&browsers, &RenderJob::html(PAGE).with_format(RenderFormat::Pdf)).await?;
    ensure_eq!(document.content_type, "application/pdf");
    ensure!(document.bytes.starts_with(b"%PDF-"));
    Ok(())
}

async fn private_addresses_are_forbidden(browsers: Subject) -> Outcome {
    for url in ["http://127.0.0.1:1/", "http://localhost:1/", "http://169.254.169.254/", "file:///etc/passwd"] {
        let error = rendered(&browsers, &RenderJob::url(url)).await.err();
        ensure_eq!((url, error.map(|error| error.kind())), (url, Some(BrowserErrorKind::Forbidden)));
    }
    Ok(())
}
