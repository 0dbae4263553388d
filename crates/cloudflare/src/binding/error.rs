//! What JavaScript throws, without JavaScript.

use std::fmt;

use worker::js_sys::{self, Reflect};
use worker::wasm_bindgen::{JsCast, JsValue};

/// Something that JavaScript has thrown: its words and what the runtime marks it with, no value of JavaScript's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JsError {
    /// `Error`, `TypeError`, ...
    pub name: String,
    /// The message alone.
    pub message: String,
    /// The runtime says that the same call may succeed later.
    pub retryable: bool,
    /// The runtime says that the object has too much to do.
    pub overloaded: bool,
    /// The session object was reset.
    pub reset: bool,
}

impl JsError {
    /// An error of ours about a value of JavaScript's.
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

/// The message alone, as Cloudflare's texts are quoted.
impl fmt::Display for JsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for JsError {}
