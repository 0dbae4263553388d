//! A session object as a Durable Object.
//!
//! The exported class has one of these, and calls it for each event. The instance is started in the constructor, under
//! `blockConcurrencyWhile`, so that no event comes before it; where the start fails, each event fails with its error until the
//! runtime makes another instance.
//!
//! Each event is a promise of JavaScript's around a future of ours. A panic in a handler must not reach the executor, which all
//! objects of the isolate share: it is caught, the event fails, and the object is reset.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt;
use isobar_cloudflare::binding::js_sys::Promise;
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::{JsError, Object, millis, request_from_js, response_to_js};

use super::sockets::{accepted, message_from_js, socket_of};
use super::state::{State, block, promise};
use super::{failure, thrown};
use crate::{
    AlarmInfo, Body, CloseFrame, Error, ErrorKind, Response, Result, SessionContext, SessionObject, take_client,
};

/// The content of the class that [`durable_object!`](crate::durable_object) exports.
pub struct DurableObject<O: SessionObject> {
    inner: Rc<Inner<O>>,
}

struct Inner<O> {
    js: Object,
    state: Result<Rc<State>>,
    /// The instance, once it has started; why it has not.
    instance: RefCell<Result<Rc<O>>>,
    /// An alarm has panicked: the next event finds the object reset.
    has_panicked: Cell<bool>,
}

impl<O: SessionObject> DurableObject<O> {
    /// Starts an instance; the runtime delivers no event before that is done.
    pub fn new(js: Object, env: Result<O::Env, JsError>) -> Self {
        let starting = Error::new(ErrorKind::Internal, "the session object has not started");
        let state = State::new(js.clone()).map(Rc::new);
        let instance = RefCell::new(Err(starting));
        let inner = Rc::new(Inner { js: js.clone(), state, instance, has_panicked: Cell::default() });
        let this = Rc::clone(&inner);
        let start = async move {
            let started = this.start(env).await;
            let failed = started.as_ref().err().cloned();
            *this.instance.borrow_mut() = started;
            failed.map_or(Ok(()), Err)
        };
        // A failure is what the runtime rejects the waiting events with; the promise itself is of no more use.
        drop(promise(async move {
            drop(block(js, Box::pin(start)).await);
            Ok(JsValue::UNDEFINED)
        }));
        Self { inner }
    }

    /// Answers a request.
    pub fn fetch(&self, request: Object) -> Promise {
        self.event(async move |object, _| {
            let request = request_from_js(&request).map_err(failure)?;
            let (mut parts, body) = request.into_parts();
            // As natively: a session's requests have a path, and no authority.
            parts.uri = parts.uri.path_and_query().cloned().map_or_else(http::Uri::default, http::Uri::from);
            let response = object.fetch(http::Request::from_parts(parts, Body::wrap(body))).await?;
            Ok(answer(response).await.map_err(failure)?.into())
        })
    }

    /// The alarm's time has come. The runtime tries a failure again, and counts it; one that resets the object it would try
    /// again without counting, for ever. So a panic fails the alarm first, and resets the object with the next event.
    pub fn alarm(&self, info: Object) -> Promise {
        let inner = Rc::clone(&self.inner);
        self.event(async move |object, _| {
            let scheduled = millis(&info.get("scheduledTime")).unwrap_or_else(chrono::Utc::now);
            let retries = info.number("retryCount").unwrap_or_default() as u32;
            let alarm = object.alarm(AlarmInfo::new(scheduled, retries));
            let outcome = AssertUnwindSafe(alarm).catch_unwind().await.unwrap_or_else(|_| {
                inner.has_panicked.set(true);
                Err(panicked())
            });
            outcome.map(|()| JsValue::UNDEFINED)
        })
    }

    /// A message has come.
    pub fn message(&self, socket: Object, message: Object) -> Promise {
        self.event(async move |object, state| {
            object.message(&state.socket(socket), message_from_js(&message)).await?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// A socket was closed by its client.
    pub fn closed(&self, socket: Object, code: u16, reason: String, was_clean: bool) -> Promise {
        self.event(async move |object, state| {
            let result = object.closed(&state.socket(socket.clone()), CloseFrame { code, reason, was_clean }).await;
            // The object's half is closed with the client's, as natively. Codes that nobody may send become 1000.
            drop(socket.call("close", &[1000.into(), "".into()]));
            result.map(|()| JsValue::UNDEFINED)
        })
    }

    /// A socket broke.
    pub fn broken(&self, socket: Object) -> Promise {
        let CloseFrame { code, reason, was_clean } = CloseFrame::broken();
        self.closed(socket, code, reason, was_clean)
    }

    /// Runs a handler as an event. A panic resets the object.
    fn event<F>(&self, handler: F) -> Promise
    where
        F: AsyncFnOnce(Rc<O>, Rc<State>) -> Result<JsValue> + 'static,
    {
        let inner = Rc::clone(&self.inner);
        promise(async move {
            let event = async {
                let (object, state) = inner.ready()?;
                state.refresh_alarm().await?;
                handler(object, state).await
            };
            let outcome = AssertUnwindSafe(event).catch_unwind().await;
            if outcome.is_err() {
                inner.reset();
            }
            if inner.state.as_ref().is_ok_and(|state| state.is_reset()) {
                // The runtime answers with the reason. This promise stays in the isolate for ever: with nothing in it.
                drop(outcome);
                drop(inner.instance.replace(Err(panicked())));
                drop(inner);
                return std::future::pending().await;
            }
            outcome.unwrap_or_else(|_| Err(panicked())).map_err(|error| thrown(&error).into())
        })
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Reset, "the session object panicked and was reset")
}

impl<O: SessionObject> Inner<O> {
    /// The instance, started and whole.
    fn ready(&self) -> Result<(Rc<O>, Rc<State>)> {
        if self.has_panicked.get() {
            self.reset();
            return Err(panicked());
        }
        Ok((self.instance.borrow().clone()?, self.state.clone()?))
    }

    fn reset(&self) {
        if let Ok(state) = &self.state {
            state.reset(&panicked().to_string());
        }
    }

    async fn start(&self, env: Result<O::Env, JsError>) -> Result<Rc<O>> {
        let state = self.state.clone()?;
        let env = env.map_err(failure)?;
        state.refresh_alarm().await?;
        let start = O::start(SessionContext::new(state), env);
        match AssertUnwindSafe(start).catch_unwind().await {
            Ok(object) => object.map(Rc::new),
            Err(_) => Err(panicked()),
        }
    }
}

impl<O: SessionObject> fmt::Debug for DurableObject<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableObject").field("js", &self.inner.js).finish_non_exhaustive()
    }
}

async fn answer(mut response: Response) -> Result<Object, JsError> {
    let socket = match take_client(&mut response) {
        Some(client) => Some(accepted(&client)?),
        // Another object's socket, passed on.
        None => socket_of(response.extensions_mut()),
    };
    response_to_js(response, socket).await
}
