//! JavaScript exceptions as plain data.

use std::fmt;

use worker::js_sys::{self, Reflect};
use worker::wasm_bindgen::{JsCast, JsValue};

/// A JavaScript exception as plain data: its name, message and the runtime's marks, without a JavaScript value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JsError {
    /// Name of the exception: `Error`, `TypeError`, ...
    pub name: String,
    /// Message without the name.
    pub message: String,
    /// Whether the runtime marks the call as retryable.
    pub retryable: bool,
    /// Whether the runtime marks the session object as overloaded.
    pub overloaded: bool,
    /// Whether the session object was reset.
    pub reset: bool,
}

impl JsError {
    /// Creates an error about an unexpected JavaScript value.
    pub fn new(message: impl Into<String>) -> Self {
        Self { name: "Error".to_owned(), message: message.into(), ..Self::default() }
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
        }
    }
}

impl From<JsError> for JsValue {
    fn from(error: JsError) -> Self {
        let value = js_sys::Error::new(&error.message);
        value.set_name(&error.name);
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
