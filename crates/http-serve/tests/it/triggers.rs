//! Cron triggers of a configuration.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use isobar_cloudflare::wrangler::{Config, Format};
use isobar_http_serve::{App, BindingError, Platform, PlatformError, ScheduledEvent, WranglerPlatform};
use isobar_sessions::local::{Clock, HostOptions, LocalHost};
use isobar_sessions::triggers::{CronTrigger, CronTriggers};

const HOURLY: &str = "0 * * * *";

fn configured(crons: &[&str]) -> WranglerPlatform {
    let text = format!("name = \"a\"\nvars = {{ GREETING = \"hello\" }}\n[triggers]\ncrons = {crons:?}\n");
    WranglerPlatform::new(Config::parse(&text, Format::Toml, None).unwrap())
}

/// Leaves the folder of triggers as a program does that ended two hours ago.
async fn ended_two_hours_ago(root: &Path) {
    let triggers = CronTriggers::new(&[HOURLY.to_owned()], |_| async { Ok::<(), String>(()) }).unwrap();
    let env = triggers.clone();
    let options = HostOptions::default().with_clock(Clock::new(|| Utc::now() - TimeDelta::hours(2)));
    let folder = root.join("sessions/isobar.CronTrigger");
    let host = LocalHost::<CronTrigger>::open(folder, "isobar.CronTrigger", &options, move || env.clone()).unwrap();
    triggers.start(&host).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_trigger_calls_the_handler_of_the_application() {
    let folder = tempfile::tempdir().unwrap();
    ended_two_hours_ago(folder.path()).await;
    let events = Arc::new(Mutex::new(Vec::<(ScheduledEvent, String)>::new()));
    let noted = Arc::clone(&events);
    let app = move |platform: &Platform| {
        let greeting = platform.var("GREETING")?.to_string();
        let handler = move |event| {
            noted.lock().unwrap().push((event, greeting.clone()));
            async { Ok::<(), String>(()) }
        };
        Ok::<_, BindingError>(App::new().scheduled(handler))
    };
    let platform = configured(&[HOURLY, "30 3 1 1 *"]).triggers(app).local(folder.path()).await.unwrap();
    for _ in 0..250 {
        if !events.lock().unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (event, greeting) = events.lock().unwrap().first().cloned().expect("the missed time is made up for");
    assert_eq!((event.cron.as_str(), greeting.as_str()), (HOURLY, "\"hello\""));
    let missed = Utc::now() - event.scheduled_time;
    assert!(missed > TimeDelta::minutes(30) && missed < TimeDelta::hours(3), "{event:?}");
    platform.close().await.unwrap();
    drop(platform);
    assert_eq!(events.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cron_triggers_need_a_handler_and_valid_expressions() {
    let with_handler = |_: &Platform| Ok(App::new().scheduled(|_| async { Ok::<(), String>(()) }));
    let without = |_: &Platform| Ok(App::new());
    let error = configured(&[HOURLY]).triggers(without).memory().await.unwrap_err();
    assert!(matches!(error, PlatformError::NoHandler) && error.to_string().contains("App::scheduled"), "{error}");
    let error = configured(&["* * * *"]).triggers(with_handler).memory().await.unwrap_err();
    assert!(error.to_string().contains("invalid cron expression \"* * * *\""), "{error}");
    configured(&[HOURLY]).triggers(with_handler).memory().await.unwrap();
    configured(&[]).triggers(without).memory().await.unwrap();

    // Without an application nothing is fired, and nothing made.
    let folder = tempfile::tempdir().unwrap();
    configured(&[HOURLY]).local(folder.path()).await.unwrap();
    assert!(!folder.path().join("sessions").exists());
}
