//! The platform as a Worker: the same application, on the bindings of its `env`.

use std::sync::atomic::{AtomicBool, Ordering};

use isobar_http_serve::workers::{self, Context, Env, Request, Response, event};
use isobar_http_serve::{Platform, schedule};

use crate::KEEPER;
use crate::bindings::IAM_SESSION;

isobar_http_serve::session_class!(IamSession => crate::IamSession, crate::IamEnv::new);

/// Whether this isolate has started the scheduled tasks.
static KEEPS: AtomicBool = AtomicBool::new(false);

/// Whether this isolate has checked that its keyring matches the database.
static FITS: AtomicBool = AtomicBool::new(false);

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    if !KEEPS.swap(true, Ordering::Relaxed)
        && let Ok(platform) = Platform::from_env(env.as_ref())
        && let Ok(sessions) = platform.sessions(IAM_SESSION)
    {
        context.wait_until(async move {
            if schedule(&*sessions, KEEPER).await.is_err() {
                KEEPS.store(false, Ordering::Relaxed); // with the next request
            }
        });
    }
    if !FITS.load(Ordering::Relaxed)
        && let Ok(platform) = Platform::from_env(env.as_ref())
    {
        match crate::check_keyring(&platform).await {
            Ok(None) => FITS.store(true, Ordering::Relaxed),
            Ok(Some(problem)) => {
                worker::console_error!("the platform does not serve: {problem}");
                return Response::error("the service is unavailable; see its log", 503);
            }
            // The database does not answer now: requests that need it fail, and the next request checks again.
            Err(error) => worker::console_warn!("the keyring was not compared: {error}"),
        }
    }
    workers::serve(crate::app, request, env, &context).await
}
