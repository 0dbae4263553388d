//! The platform as a Worker: the same application, on the bindings of its `env`.

use isobar_http_serve::workers::{self, Context, Env, Request, Response, event};

isobar_http_serve::session_class!(IamSession => crate::IamSession, |_| ());

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    workers::serve(crate::app, request, env, &context).await
}
