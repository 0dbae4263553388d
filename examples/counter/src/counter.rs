//! The session object: one for each counter's name.

use http::{Method, StatusCode};
use isobar_sessions::{
    Body, Message, Request, Response, Result, SessionContext, SessionObject, WebSocket, socket_pair, websocket_response,
};

/// A counter. Everything that must last is in its database: the instance itself may be dropped whenever nothing happens, and is
/// started again by the next request or message. WebSockets stay open meanwhile.
pub(crate) struct Counter {
    context: SessionContext,
}

impl SessionObject for Counter {
    /// The environment of the objects: databases, buckets, secrets. This one needs nothing.
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS counts (amount INTEGER NOT NULL)", ())?;
        Ok(Self { context })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/") => Ok(text(StatusCode::OK, self.value()?.to_string())),
            (&Method::POST, "/") => {
                let amount = request.into_body().text().await?;
                Ok(match amount.trim().parse() {
                    Ok(amount) => text(StatusCode::OK, self.count(amount)?.to_string()),
                    Err(_) => text(StatusCode::BAD_REQUEST, "send a whole number".to_owned()),
                })
            }
            (&Method::GET, "/socket") => {
                // One end stays here, the other one goes to whoever has asked.
                let (client, server) = socket_pair();
                let socket = self.context.accept_websocket(server, &[])?;
                socket.send(self.value()?.to_string())?;
                Ok(websocket_response(client))
            }
            _ => Ok(text(StatusCode::NOT_FOUND, "GET and POST /, and a WebSocket at /socket".to_owned())),
        }
    }

    async fn message(&self, socket: &WebSocket, message: Message) -> Result<()> {
        let amount = match &message {
            Message::Text(text) => text.trim().parse().ok(),
            Message::Binary(_) => None,
        };
        match amount {
            Some(amount) => self.count(amount).map(drop),
            None => socket.send("send a whole number"),
        }
    }
}

impl Counter {
    fn value(&self) -> Result<i64> {
        self.context.sql().exec("SELECT coalesce(sum(amount), 0) FROM counts", ())?.one()
    }

    /// Counts, and tells everyone. Nobody hears of a number that is not durable: messages wait for what was written before.
    fn count(&self, amount: i64) -> Result<i64> {
        self.context.sql().exec("INSERT INTO counts (amount) VALUES (?)", (amount,))?;
        let value = self.value()?;
        for socket in self.context.websockets(None).iter().filter(|socket| socket.is_open()) {
            socket.send(value.to_string())?;
        }
        Ok(value)
    }
}

fn text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
