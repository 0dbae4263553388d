//! The caller's side.

use async_trait::async_trait;
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::{JsError, Object, request_to_js, response_from_js, send};

use super::failure;
use super::sockets::with_socket;
use crate::{Body, Capabilities, Error, ErrorKind, ObjectId, Operation, Request, Response, Result, SessionNamespace};

/// A namespace of Durable Objects by its binding: for code inside Workers.
#[derive(Debug, Clone)]
pub struct DurableObjectNamespace {
    namespace: Object,
}

impl DurableObjectNamespace {
    /// Takes the namespace behind a binding, such as `env.ROOMS`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the value is not a namespace.
    pub fn new(binding: impl Into<Object>) -> Result<Self> {
        let namespace = binding.into();
        if namespace.is_nothing() || namespace.method("idFromName").is_err() {
            let message = format!("the binding is not a Durable Object namespace but {:?}", namespace.class());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Self { namespace })
    }

    fn id(&self, method: &str, arguments: &[JsValue], name: Option<&str>) -> Result<ObjectId> {
        let id = Object::from(self.namespace.call(method, arguments).map_err(failure)?);
        object_id(&id, name)
    }

    async fn ask(&self, id: &ObjectId, request: Request) -> Result<Response> {
        // By its name where there is one: the object is told it, too.
        let id = match id.name() {
            Some(name) => self.namespace.call("idFromName", &[name.into()]),
            None => self.namespace.call("idFromString", &[id.to_string().into()]),
        };
        // A stub is used once: one whose object was reset stays broken.
        let stub = Object::from(self.namespace.call("get", &[id.map_err(failure)?]).map_err(failure)?);
        // The authority says nothing: which object it is, is in the stub.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let request = request_to_js(&format!("http://session{path}"), request).await.map_err(failure)?;
        // An encoded answer comes as it is: its headers go on with it.
        let as_it_is = Object::empty().with("encodeResponseBody", "manual");
        let answer = stub.ask("fetch", &[request.into(), as_it_is.into()]).await.map_err(failure)?;
        let answer = Object::from(answer);
        let socket = answer.object("webSocket");
        let response = response_from_js(&answer).map_err(failure)?.map(Body::wrap);
        Ok(if socket.is_nothing() { response } else { with_socket(response, socket) })
    }
}

#[async_trait]
impl SessionNamespace for DurableObjectNamespace {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_time_travel(true)
    }

    fn id_from_name(&self, name: &str) -> ObjectId {
        // `idFromName` takes every text. Were it to fail, asking the object would say why.
        let id = self.id("idFromName", &[name.into()], Some(name));
        id.unwrap_or_else(|_| ObjectId::from_parts([0; 32], Some(name.to_owned())))
    }

    fn unique_id(&self) -> Result<ObjectId> {
        self.id("newUniqueId", &[], None)
    }

    fn parse_id(&self, text: &str) -> Result<ObjectId> {
        self.id("idFromString", &[text.into()], None)
    }

    async fn fetch(&self, id: &ObjectId, request: Request) -> Result<Response> {
        send(self.ask(id, request)).await.map_err(|error| error.during(Operation::Fetch))
    }
}

/// A `DurableObjectId`.
pub(super) fn object_id(id: &Object, name: Option<&str>) -> Result<ObjectId> {
    let text = id.call("toString", &[]).map_err(failure)?.as_string().unwrap_or_default();
    let bytes = hex::decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| failure(JsError::new(format!("Invalid Durable Object ID: {text:?}"))))?;
    Ok(ObjectId::from_parts(bytes, name.map(str::to_owned)))
}
