//! JavaScript objects and functions.
//!
//! A wasm32 Worker sees JavaScript through `JsValue`, which is neither `Send` nor typed. [`Object`](super::Object) wraps one with
//! `SendWrapper`, which panics where it is touched on another thread: Workers have one. Properties that are missing or of another type are
//! `None` or `undefined` rather than exceptions, as the runtime's objects gain and lose properties with the compatibility date; calls fail with
//! a [`JsError`].

use bytes::Bytes;
use chrono::{DateTime, Utc};
use worker::js_sys::{self, Array, Promise, Reflect, Uint8Array};
use worker::send::SendWrapper;
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::wasm_bindgen_futures::JsFuture;

use super::JsError;

/// A JavaScript object: cheap to clone. For code inside Workers: natively it compiles, and panics where it calls JavaScript.
///
/// ```no_run
/// use isobar_cloudflare::binding::{JsError, Object};
///
/// /// `await bucket.put(key, text, { httpMetadata: { contentType: "text/plain" } })`
/// async fn put_text(bucket: &Object, key: &str, text: &str) -> Result<(), JsError> {
///     let metadata = Object::empty().with("contentType", "text/plain");
///     let options = Object::empty().with("httpMetadata", metadata);
///     bucket.ask("put", &[key.into(), text.into(), options.into()]).await.map(drop)
/// }
/// ```
///
/// A value of any type may be wrapped, `undefined` too: [`is_nothing`](Self::is_nothing) says so, and what is read from it is nothing. The
/// builder methods are for options objects:
///
/// ```no_run
/// use isobar_cloudflare::binding::Object;
///
/// /// `{ prefix: "a/", limit: 100 }`, without the keys that have no value.
/// fn list_options(prefix: &str, limit: Option<u32>) -> Object {
///     Object::empty().with("prefix", prefix).with_some("limit", limit)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Object(SendWrapper<JsValue>);

/// A JavaScript function and the object of which it is a method.
///
/// Kept where a method is called often: a call has no look-up by name.
#[derive(Debug, Clone)]
pub struct Function {
    this: Object,
    function: SendWrapper<js_sys::Function>,
}

impl Object {
    /// Creates an empty object.
    #[must_use]
    pub fn empty() -> Self {
        Self::from(JsValue::from(js_sys::Object::new()))
    }

    /// Returns the runtime's global object.
    #[must_use]
    pub fn global() -> Self {
        Self::from(JsValue::from(js_sys::global()))
    }

    /// Returns the JavaScript value.
    #[must_use]
    pub fn value(&self) -> &JsValue {
        &self.0
    }

    /// Returns a property; `undefined` where it does not exist.
    ///
    /// A getter that throws counts as missing.
    #[must_use]
    pub fn get(&self, name: &str) -> JsValue {
        Reflect::get(&self.0, &name.into()).unwrap_or(JsValue::UNDEFINED)
    }

    /// Returns a property that is an object.
    ///
    /// Not checked: a property that is missing is an object that [is nothing](Self::is_nothing).
    #[must_use]
    pub fn object(&self, name: &str) -> Self {
        self.get(name).into()
    }

    /// Returns a property that is a string.
    ///
    /// `None` where it is missing or not a string. Lone surrogates become U+FFFD.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).as_string()
    }

    /// Returns a property that is a number.
    ///
    /// `None` where it is missing or not a number; a `BigInt` is not one. Integers beyond 2^53 have been rounded by JavaScript already.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name).as_f64()
    }

    /// Whether the property exists.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        Reflect::has(&self.0, &name.into()).unwrap_or(false)
    }

    /// Whether it is `null` or `undefined`.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.0.is_null() || self.0.is_undefined()
    }

    /// Returns the name of its class.
    ///
    /// Empty where there is none. For messages: minified code has other names.
    #[must_use]
    pub fn class(&self) -> String {
        self.object("constructor").text("name").unwrap_or_default()
    }

    /// Sets a property.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<JsValue>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a property if there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<JsValue>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Sets a property. Does nothing on a value that is not an object, as in sloppy JavaScript.
    pub fn set(&self, name: &str, value: impl Into<JsValue>) {
        drop(Reflect::set(&self.0, &name.into(), &value.into()));
    }

    /// Returns a method.
    ///
    /// # Errors
    /// Fails where there is no such method.
    pub fn method(&self, name: &str) -> Result<Function, JsError> {
        let missing = |_| JsError::new(format!("{} has no method {name}", self.class()));
        let function = self.get(name).dyn_into::<js_sys::Function>().map_err(missing)?;
        Ok(Function { this: self.clone(), function: SendWrapper(function) })
    }

    /// Calls a method.
    ///
    /// The result is not awaited: a promise is returned as it is. [`ask`](Self::ask) awaits it.
    ///
    /// ```no_run
    /// use isobar_cloudflare::binding::{JsError, Object};
    ///
    /// /// `headers.get(name)`
    /// fn header(headers: &Object, name: &str) -> Result<Option<String>, JsError> {
    ///     Ok(headers.call("get", &[name.into()])?.as_string())
    /// }
    /// ```
    ///
    /// # Errors
    /// The exception that the method throws.
    pub fn call(&self, method: &str, arguments: &[JsValue]) -> Result<JsValue, JsError> {
        self.method(method)?.call(arguments)
    }

    /// Calls a method and awaits its promise. Wrap it in [`send`](super::send) where a future must be `Send`.
    ///
    /// The method is called when the future is first polled. Dropping the future does not cancel the call: JavaScript's promises cannot be.
    ///
    /// ```no_run
    /// use isobar_cloudflare::binding::{JsError, Object};
    ///
    /// /// The keys of a bucket of R2: `(await bucket.list()).objects.map((object) => object.key)`.
    /// async fn keys(bucket: &Object) -> Result<Vec<String>, JsError> {
    ///     let listed = Object::from(bucket.ask("list", &[]).await?);
    ///     let objects = listed.object("objects").elements().into_iter().map(Object::from);
    ///     Ok(objects.filter_map(|object| object.text("key")).collect())
    /// }
    /// ```
    ///
    /// # Errors
    /// The exception that the method throws, or with which its promise is rejected.
    pub async fn ask(&self, method: &str, arguments: &[JsValue]) -> Result<JsValue, JsError> {
        settle(self.call(method, arguments)?).await
    }

    /// Creates an instance of a global class.
    ///
    /// ```no_run
    /// use isobar_cloudflare::binding::{JsError, Object};
    ///
    /// /// `new URL(text).pathname`
    /// fn path(text: &str) -> Result<String, JsError> {
    ///     let url = Object::construct("URL", &[text.into()])?;
    ///     url.text("pathname").ok_or_else(|| JsError::new("a URL has a path"))
    /// }
    /// ```
    ///
    /// # Errors
    /// Fails where there is no such class, and with the exception that its constructor throws.
    pub fn construct(class: &str, arguments: &[JsValue]) -> Result<Self, JsError> {
        let missing = |_| JsError::new(format!("the runtime has no class {class}"));
        let constructor = Self::global().get(class).dyn_into::<js_sys::Function>().map_err(missing)?;
        Ok(Reflect::construct(&constructor, &Array::from_iter(arguments))?.into())
    }

    /// Returns the names and values of its own properties.
    ///
    /// In JavaScript's order: integers ascending, then the others as they were set. Empty for a value that is not an object.
    ///
    /// ```no_run
    /// use isobar_cloudflare::binding::Object;
    ///
    /// /// The texts among the custom metadata of an object of R2.
    /// fn metadata(object: &Object) -> Vec<(String, String)> {
    ///     let entries = object.object("customMetadata").entries().into_iter();
    ///     entries.filter_map(|(name, value)| Some((name, value.as_string()?))).collect()
    /// }
    /// ```
    #[must_use]
    pub fn entries(&self) -> Vec<(String, JsValue)> {
        let Some(object) = self.0.dyn_ref::<js_sys::Object>() else { return Vec::new() };
        let entry = |entry: JsValue| {
            let pair = Array::from(&entry);
            Some((pair.get(0).as_string()?, pair.get(1)))
        };
        js_sys::Object::entries(object).iter().filter_map(entry).collect()
    }

    /// Returns the elements of an array.
    ///
    /// Any iterable is read to its end; nothing has no elements.
    #[must_use]
    pub fn elements(&self) -> Vec<JsValue> {
        if self.is_nothing() { Vec::new() } else { Array::from(&self.0).iter().collect() }
    }
}

impl From<JsValue> for Object {
    fn from(value: JsValue) -> Self {
        Self(SendWrapper(value))
    }
}

impl From<Object> for JsValue {
    fn from(object: Object) -> Self {
        object.0.0
    }
}

impl Function {
    /// Calls the function.
    ///
    /// # Errors
    /// The exception that the function throws.
    pub fn call(&self, arguments: &[JsValue]) -> Result<JsValue, JsError> {
        Ok(Reflect::apply(&self.function, self.this.value(), &Array::from_iter(arguments))?)
    }
}

/// Awaits a promise; returns any other value as it is. An object with a method `then` counts as a promise, as for JavaScript's `await`.
async fn settle(value: JsValue) -> Result<JsValue, JsError> {
    Ok(JsFuture::from(Promise::resolve(&value)).await?)
}

/// Copies bytes into a `Uint8Array`.
///
/// One copy: memory of wasm moves when it grows, so that JavaScript is not given a view of it.
#[must_use]
pub fn uint8_array(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

/// Copies the bytes of an `ArrayBuffer`, a view of one, or an array of numbers.
#[must_use]
pub fn bytes(value: &JsValue) -> Bytes {
    Uint8Array::new(value).to_vec().into()
}

/// Converts a time to a `Date`.
///
/// Fractions of a millisecond are cut off.
///
/// ```no_run
/// use chrono::{DateTime, Utc};
/// use isobar_cloudflare::binding::{Object, date, millis};
///
/// /// A condition of R2: `{ uploadedBefore: new Date(...) }`, and the time out of it.
/// fn before(at: DateTime<Utc>) -> Object {
///     let condition = Object::empty().with("uploadedBefore", date(at));
///     assert_eq!(millis(&condition.get("uploadedBefore")).map(|at| at.timestamp()), Some(at.timestamp()));
///     condition
/// }
/// ```
#[must_use]
pub fn date(at: DateTime<Utc>) -> JsValue {
    js_sys::Date::new(&(at.timestamp_millis() as f64).into()).into()
}

/// Converts a `Date`, or a number of milliseconds since 1970, to a time.
///
/// `None` for an invalid date, for a value of another type, and beyond the years that `DateTime` has.
#[must_use]
pub fn millis(value: &JsValue) -> Option<DateTime<Utc>> {
    let number = value.as_f64().or_else(|| value.dyn_ref::<js_sys::Date>().map(js_sys::Date::get_time));
    let number = number.filter(|number| number.is_finite())?; // an invalid date is NaN
    // Beyond the range of i64 there is no `DateTime` either.
    DateTime::from_timestamp_millis(number as i64)
}
