//! Durable Objects themselves: their namespaces by the binding, and the class that a [`SessionObject`](crate::SessionObject)
//! is exported as.

mod binding;

pub(crate) use binding::bridge;
pub use binding::{DurableObject, DurableObjectNamespace, connect_socket, socket_of};

/// Items that [`durable_object!`](crate::durable_object) expands to; not for other uses.
#[doc(hidden)]
pub mod __private {
    pub use isobar_cloudflare::binding::{JsError, Object, js_sys, wasm_bindgen};
    pub use std::panic::AssertUnwindSafe;
}

/// Exports a session object as a Durable Object class, under the name that wrangler.toml calls it by. The expression makes
/// the object's [`Env`](crate::SessionObject::Env) from the Worker's `env`.
///
/// ```
/// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionObject};
/// # struct Room;
/// # impl SessionObject for Room {
/// #     type Env = ();
/// #     async fn start(_: SessionContext, _: ()) -> Result<Self> { Ok(Self) }
/// #     async fn fetch(&self, _: Request) -> Result<Response> { Ok(Response::default()) }
/// # }
/// isobar_sessions::durable_object!(ChatRoom => Room, |_env| Ok(()));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! durable_object {
    ($class:ident => $object:ty, $env:expr) => {
        const _: () = {
            use wasm_bindgen::JsValue;
            use wasm_bindgen::prelude::wasm_bindgen;
            use $crate::cloudflare::__private::{AssertUnwindSafe, JsError, Object, js_sys::Promise, wasm_bindgen};

            #[wasm_bindgen(wasm_bindgen = $crate::cloudflare::__private::wasm_bindgen, js_name = $class)]
            pub struct Exported(AssertUnwindSafe<$crate::cloudflare::DurableObject<$object>>);

            #[wasm_bindgen(wasm_bindgen = $crate::cloudflare::__private::wasm_bindgen, js_class = $class)]
            impl Exported {
                #[wasm_bindgen(constructor, wasm_bindgen = $crate::cloudflare::__private::wasm_bindgen)]
                pub fn new(state: JsValue, env: JsValue) -> Self {
                    let make: fn(&Object) -> ::std::result::Result<_, JsError> = $env;
                    let env = make(&Object::from(env));
                    Self(AssertUnwindSafe($crate::cloudflare::DurableObject::new(state.into(), env)))
                }
                #[wasm_bindgen(wasm_bindgen = $crate::cloudflare::__private::wasm_bindgen)]
                pub fn fetch(&self, request: JsValue) -> Promise {
                    self.0.fetch(request.into())
                }
                #[wasm_bindgen(wasm_bindgen = $crate::cloudflare::__private::wasm_bindgen)]
                pub fn alarm(&self, info: JsValue) -> Promise {
                    self.0.alarm(info.into())
                }
                #[wasm_bindgen(js_name = webSocketMessage, wasm_bindgen = $crate::cloudflare::__private::wasm_bindgen)]
                pub fn web_socket_message(&self, socket: JsValue, message: JsValue) -> Promise {
                    self.0.message(socket.into(), message.into())
                }
                #[wasm_bindgen(js_name = webSocketClose, wasm_bindgen = $crate::cloudflare::__private::wasm_bindgen)]
                pub fn web_socket_close(&self, socket: JsValue, code: u16, reason: String, clean: bool) -> Promise {
                    self.0.closed(socket.into(), code, reason, clean)
                }
                #[wasm_bindgen(js_name = webSocketError, wasm_bindgen = $crate::cloudflare::__private::wasm_bindgen)]
                pub fn web_socket_error(&self, socket: JsValue, _error: JsValue) -> Promise {
                    self.0.broken(socket.into())
                }
            }
        };
    };
}
