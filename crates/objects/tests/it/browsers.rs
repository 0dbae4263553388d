//! The engines of browsers under their kit.

use std::sync::Arc;

use chrono::TimeDelta;
use isobar_objects::browser::mock::{MockBrowsers, Operation};
use isobar_objects::browser::{BrowserEngine, BrowserError, BrowserErrorKind, MemoryBrowsers, RenderJob, conformance};

#[tokio::test]
async fn memory_conforms() {
    let browsers = MemoryBrowsers::default();
    conformance::run(async || Arc::new(browsers.clone()) as _).await.assert_green();
}

#[tokio::test]
async fn a_mock_without_a_script_conforms_and_fails_as_scripted() {
    let mock = MockBrowsers::new(MemoryBrowsers::default());
    conformance::run(async || Arc::new(mock.clone()) as _).await.assert_green();
    mock.script().fail_next(Operation::Open, BrowserError::new(BrowserErrorKind::Unavailable, "no browser starts"));
    let error = mock.open("ada", TimeDelta::minutes(1)).await.unwrap_err();
    assert_eq!(error.kind(), BrowserErrorKind::Unavailable);
}

#[tokio::test]
async fn memory_has_six_sessions_and_three_of_one_user() {
    let browsers = MemoryBrowsers::default();
    for user in ["ada", "bob"] {
        for _ in 0..3 {
            browsers.open(user, TimeDelta::minutes(1)).await.unwrap();
        }
        let error = browsers.open(user, TimeDelta::minutes(1)).await.unwrap_err();
        assert_eq!(error.kind(), BrowserErrorKind::Full);
    }
    assert_eq!(browsers.open("eve", TimeDelta::minutes(1)).await.unwrap_err().kind(), BrowserErrorKind::Full);
    let error = browsers.render("memory-1", &RenderJob::url("https://example.com/")).await.unwrap_err();
    assert_eq!(error.kind(), BrowserErrorKind::Page);
}
