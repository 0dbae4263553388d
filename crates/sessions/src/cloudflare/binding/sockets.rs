//! WebSockets: those that an object has accepted, and the client's end on its way out.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use isobar_base::sync::IgnorePoison;
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::wasm_bindgen::closure::Closure;
use isobar_cloudflare::binding::{JsError, Object, bytes as bytes_of, millis, uint8_array, wasm_bindgen_futures};

use super::failure;
use crate::{
    ClientSocket, CloseFrame, Error, ErrorKind, Message, Response, Result, ServerSender, SocketBackend, socket_pair,
};

/// The client's end as the runtime has it, in a response's extensions.
#[derive(Clone)]
struct RawSocket(Arc<Mutex<Option<Object>>>);

/// Puts a socket of the runtime's into a response.
pub(super) fn with_socket(mut response: Response, socket: Object) -> Response {
    response.extensions_mut().insert(RawSocket(Arc::new(Mutex::new(Some(socket)))));
    response
}

/// Takes the client's end out of a response as the runtime's own `WebSocket`, to be handed on to the client as it is.
pub fn socket_of(extensions: &mut http::Extensions) -> Option<Object> {
    extensions.remove::<RawSocket>()?.0.lock().ignore_poison().take()
}

/// Takes the client's end out of a response to speak through it here.
pub(crate) fn bridge(response: &mut Response) -> Option<ClientSocket> {
    connect_socket(socket_of(response.extensions_mut())?)
}

/// Accepts a `WebSocket` of the runtime's - the `webSocket` of a response to an upgrade, from a service binding or `fetch` - and
/// returns its end to send and receive by. `None` if the object is not a WebSocket that can be accepted. The connection is closed
/// with 1001 when the returned end is dropped.
pub fn connect_socket(socket: Object) -> Option<ClientSocket> {
    let (client, server) = socket_pair();
    let (sender, mut frames) = server.into_parts();
    socket.set("binaryType", "arraybuffer");
    socket.call("accept", &[]).ok()?;
    let listeners = listen(&socket, &sender);
    wasm_bindgen_futures::spawn_local(async move {
        while let Some(frame) = frames.next().await {
            let sent = match frame {
                Ok(message) => socket.call("send", &[message_to_js(&message)]),
                Err(CloseFrame { code, reason, .. }) => socket.call("close", &[code.into(), reason.into()]),
            };
            if sent.is_err() {
                break; // closed: the listeners say so
            }
        }
        // The sender is gone; for a socket that is closed already this is nothing.
        drop(socket.call("close", &[1001.into(), "the client is gone".into()]));
        drop(listeners);
    });
    Some(client)
}

fn listen(socket: &Object, sender: &ServerSender) -> [Closure<dyn FnMut(JsValue)>; 3] {
    let on = |name: &str, mut handle: Box<dyn FnMut(Object)>| {
        let closure = Closure::wrap_assert_unwind_safe(
            Box::new(move |event: JsValue| handle(event.into())) as Box<dyn FnMut(JsValue)>
        );
        // The socket has addEventListener; were it to fail, nothing would come.
        drop(socket.call("addEventListener", &[name.into(), closure.as_ref().clone()]));
        closure
    };
    let message = sender.clone();
    let close = sender.clone();
    let error = sender.clone();
    [
        on("message", Box::new(move |event| message.send(message_from_js(&event.object("data"))))),
        on(
            "close",
            Box::new(move |event| {
                let frame = CloseFrame {
                    code: event.number("code").unwrap_or(1006.0) as u16,
                    reason: event.text("reason").unwrap_or_default(),
                    was_clean: event.get("wasClean").is_truthy(),
                };
                // A connection that broke has no goodbye to pass on: it just ends.
                if frame.was_clean { close.close(frame) } else { close.end() }
            }),
        ),
        on("error", Box::new(move |_| error.end())),
    ]
}

pub(super) fn message_to_js(message: &Message) -> JsValue {
    match message {
        Message::Text(text) => text.as_str().into(),
        Message::Binary(bytes) => uint8_array(bytes),
    }
}

pub(super) fn message_from_js(data: &Object) -> Message {
    data.value().as_string().map_or_else(|| Message::Binary(bytes_of(data.value())), Message::Text)
}

/// An accepted socket's handle.
pub(super) struct JsSocket {
    /// The object's `state`, which knows the tags.
    pub(super) state: Object,
    pub(super) socket: Object,
    pub(super) id: u64,
}

impl SocketBackend for JsSocket {
    fn id(&self) -> u64 {
        self.id
    }

    fn send(&self, message: Message) -> Result<()> {
        match self.socket.call("send", &[message_to_js(&message)]) {
            // A client that is gone is told by its close event, not here.
            Err(error) if error.message.contains("after close()") => Err(Error::new(ErrorKind::Socket, error.message)),
            Err(error) => Err(failure(error)),
            Ok(_) => Ok(()),
        }
    }

    fn close(&self, CloseFrame { code, reason, .. }: CloseFrame) -> Result<()> {
        self.socket.call("close", &[code.into(), reason.into()]).map(drop).map_err(failure)
    }

    fn is_open(&self) -> bool {
        self.socket.number("readyState") == Some(1.0) // WebSocket.OPEN
    }

    fn tags(&self) -> Vec<String> {
        let tags = self.state.call("getTags", &[self.socket.value().clone()]).map(Object::from);
        tags.map_or_else(|_| Vec::new(), |tags| tags.elements().iter().filter_map(JsValue::as_string).collect())
    }

    fn attachment(&self) -> Option<bytes::Bytes> {
        let attachment = self.socket.call("deserializeAttachment", &[]).ok()?;
        attachment.as_string().map(bytes::Bytes::from)
    }

    fn set_attachment(&self, attachment: Option<bytes::Bytes>) -> Result<()> {
        let json = attachment.map_or(JsValue::NULL, |json| String::from_utf8_lossy(&json).as_ref().into());
        self.socket.call("serializeAttachment", &[json]).map(drop).map_err(failure)
    }

    fn auto_responded(&self) -> Option<DateTime<Utc>> {
        millis(&self.state.call("getWebSocketAutoResponseTimestamp", &[self.socket.value().clone()]).ok()?)
    }
}

/// A socket's number: the runtime gives its objects none, so it is kept on them.
pub(super) fn number_of(socket: &Object, next: impl FnOnce() -> u64) -> u64 {
    const NUMBER: &str = "isobarNumber";
    socket.number(NUMBER).map_or_else(
        || {
            let number = next();
            socket.set(NUMBER, number as f64);
            number
        },
        |number| number as u64,
    )
}

/// The client's end of a socket that the object has accepted.
pub(super) fn accepted(client: &ClientSocket) -> Result<Object, JsError> {
    let missing = || JsError::new("the object answers with a WebSocket that it has not accepted");
    let link = client.link().lock().ignore_poison().take().ok_or_else(missing)?;
    link.downcast::<Object>().map(|socket| *socket).map_err(|_| missing())
}
