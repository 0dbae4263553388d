//! JavaScript exceptions as plain data.
//!
//! An exception is taken apart where it is caught: `JsValue` is not `Send`, and errors of the crates above are. The marks are those of
//! Cloudflare's documentation, "Durable Objects", "Error handling": `retryable` says that the same call may be made again on a new stub,
//! `overloaded` that it should not be made at once.

use std::fmt;

use worker::js_sys::{self, Reflect};
use worker::wasm_bindgen::{JsCast, JsValue};

/// A JavaScript exception as plain data: its name, message and the runtime's marks, without a JavaScript value.
///
/// It displays as the message alone, so that texts of Cloudflare's which callers know (`D1_ERROR: ...`) stay at the beginning.
///
/// ```
/// use isobar_cloudflare::binding::JsError;
///
/// let error = JsError::new("the request has no url");
/// assert_eq!((error.name.as_str(), error.to_string().as_str()), ("Error", "the request has no url"));
/// assert!(!error.retryable && !error.overloaded && !error.reset);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JsError {
    /// Name of the exception: `Error`, `TypeError`, ...
    pub name: String,
    /// Message without the name.
    pub message: String,
    /// Whether the runtime marks the call as retryable.
    ///
    /// Default: false, also where the exception has no such mark.
    pub retryable: bool,
    /// Whether the runtime marks the session object as overloaded.
    ///
    /// Default: false. Retrying at once would make it worse.
    pub overloaded: bool,
    /// Whether the session object was reset.
    ///
    /// By a deploy, for example. Default: false.
    pub reset: bool,
    /// Mark that a program has given its exception, which goes with it from a session object to its caller: see
    /// [`with_mark`](Self::with_mark). Default: `None`.
    pub mark: Option<String>,
}

/// Property of an exception that has its mark.
const MARK: &str = "isobar";

impl JsError {
    /// Creates an error about an unexpected JavaScript value.
    pub fn new(message: impl Into<String>) -> Self {
        Self { name: "Error".to_owned(), message: message.into(), ..Self::default() }
    }

    /// Gives the exception a mark: a word by which the program that catches it knows what kind of error it was.
    ///
    /// ```
    /// use isobar_cloudflare::binding::JsError;
    /// assert_eq!(JsError::new("no such room").with_mark("missing").mark.as_deref(), Some("missing"));
    /// ```
    #[must_use]
    pub fn with_mark(mut self, mark: impl Into<String>) -> Self {
        self.mark = Some(mark.into());
        self
    }
}

impl From<JsValue> for JsError {
    fn from(value: JsValue) -> Self {
        let Some(error) = value.dyn_ref::<js_sys::Error>() else {
            let text = value.as_string().unwrap_or_else(|| format!("{value:?}"));
            return Self::new(text);
        };
        let flag = |name: &str| Reflect::get(error, &name.into()).is_ok_and(|flag| flag.is_truthy());
        Self {
            name: error.name().into(),
            message: error.message().into(),
            retryable: flag("retryable"),
            overloaded: flag("overloaded"),
            reset: flag("durableObjectReset"),
            mark: Reflect::get(error, &MARK.into()).ok().and_then(|mark| mark.as_string()),
        }
    }
}

impl From<JsError> for JsValue {
    fn from(error: JsError) -> Self {
        let value = js_sys::Error::new(&error.message);
        value.set_name(&error.name);
        if let Some(mark) = error.mark {
            // An object of ours takes any property.
            drop(Reflect::set(&value, &MARK.into(), &mark.into()));
        }
        value.into()
    }
}

/// Shows the message without the name, so that Cloudflare's texts appear unchanged.
impl fmt::Display for JsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for JsError {}
