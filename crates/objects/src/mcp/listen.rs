//! `subscriptions/listen` of the revision without sessions, and notifications of changes.
//!
//! In the revision without sessions a client says by one request what it wants to hear of, and the answer to it is a stream that
//! stays open. A user's streams and subscriptions are bounded; a new stream ends the oldest one in an orderly way. While a stream
//! is open the object stays in memory, unless the host needs the room.
//!
//! Such a stream keeps no events: a client that has lost its connection listens again, and reads anew what it shows. What it
//! wants is in memory with the stream, and nothing of it is stored.

use bytes::Bytes;
use futures_channel::mpsc;
use rmcp::model::{SubscriptionFilter, SubscriptionsListenRequestParams};
use serde_json::{Value as Json, json};

use super::response_stream::{event, events};
use super::{Asked, Change, McpSession, invalid, parsed, too_many};
use isobar_sessions::{Response, Result};

/// Bytes of a resource's name.
pub(super) const URI_BYTES: usize = 2048;
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// A stream of notifications, with its filter.
#[derive(Debug)]
pub(super) struct Listener {
    id: Json,
    filter: SubscriptionFilter,
    sender: mpsc::UnboundedSender<Bytes>,
}

impl Listener {
    /// Resources that are subscribed to; none where the client has gone.
    fn subscriptions(&self) -> usize {
        if self.sender.is_closed() { 0 } else { self.filter.resource_subscriptions.as_ref().map_or(0, Vec::len) }
    }

    /// Whether the client has subscribed to this change.
    fn wants(&self, change: &Change) -> bool {
        let SubscriptionFilter { tools_list_changed, prompts_list_changed, resources_list_changed, .. } = self.filter;
        let is = |flag: Option<bool>| flag == Some(true);
        match change {
            Change::Tools => is(tools_list_changed),
            Change::Prompts => is(prompts_list_changed),
            Change::Resources => is(resources_list_changed),
            Change::Resource(uri) => self.filter.resource_subscriptions.iter().flatten().any(|wanted| wanted == uri),
        }
    }

    /// Sends a notification. Returns whether the client is still there.
    fn send(&self, method: &str, mut params: Json) -> bool {
        params["_meta"] = json!({ SUBSCRIPTION: self.id });
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.sender.unbounded_send(event(None, &message.to_string())).is_ok()
    }
}

impl McpSession {
    /// A stream of what changes, until the client ends it.
    pub(super) fn listen(&self, asked: &Asked, params: Json) -> Result<Response> {
        let params: SubscriptionsListenRequestParams = match parsed(params) {
            Ok(params) => params,
            Err(error) => return Ok(self.answered(asked, Err(error))),
        };
        let wanted = params.notifications.resource_subscriptions.as_deref().unwrap_or_default();
        let held = self.live.borrow().listeners.iter().map(Listener::subscriptions).sum::<usize>();
        if held + wanted.len() > self.options.limits.subscriptions as usize {
            return Ok(too_many("you have as many subscriptions as you may have: end some"));
        }
        if wanted.iter().any(|uri| uri.len() > URI_BYTES) {
            return Ok(self.answered(asked, Err(invalid("a resource's URI has 2048 bytes at most"))));
        }
        let filter = self.accepted_filter(params.notifications);
        let (sender, receiver) = mpsc::unbounded();
        let listener = Listener { id: asked.id.clone(), filter, sender };
        listener.send("notifications/subscriptions/acknowledged", json!({ "notifications": listener.filter }));
        let mut live = self.live.borrow_mut();
        live.listeners.retain(|listener| !listener.sender.is_closed());
        if live.listeners.len() >= self.options.limits.listeners.max(1) as usize {
            let oldest = live.listeners.remove(0);
            let result = json!({"resultType": "complete", "_meta": { SUBSCRIPTION: oldest.id }});
            let message = json!({"jsonrpc": "2.0", "id": oldest.id, "result": result});
            drop(oldest.sender.unbounded_send(event(None, &message.to_string())));
        }
        live.listeners.push(listener);
        Ok(events(receiver, Some(self.stay())))
    }

    /// Returns the part of the filter that the service supports.
    fn accepted_filter(&self, filter: SubscriptionFilter) -> SubscriptionFilter {
        let offered = json!(self.options.service.about().capabilities);
        let is = |flag: Option<bool>, of: &str| flag.filter(|_| offered[of]["listChanged"] == true);
        let mut accepted = SubscriptionFilter::default();
        accepted.tools_list_changed = is(filter.tools_list_changed, "tools");
        accepted.prompts_list_changed = is(filter.prompts_list_changed, "prompts");
        accepted.resources_list_changed = is(filter.resources_list_changed, "resources");
        accepted.resource_subscriptions =
            filter.resource_subscriptions.filter(|_| offered["resources"]["subscribe"] == true);
        accepted
    }

    /// Notifies clients that have subscribed, in all revisions.
    pub(super) async fn changed(&self, change: &Change) -> Result<()> {
        let (method, uri) = match change {
            Change::Tools => ("notifications/tools/list_changed", None),
            Change::Prompts => ("notifications/prompts/list_changed", None),
            Change::Resources => ("notifications/resources/list_changed", None),
            Change::Resource(uri) => ("notifications/resources/updated", Some(uri.as_str())),
        };
        let mut params = json!({});
        uri.into_iter().for_each(|uri| params["uri"] = uri.into());
        let is_open = |listener: &Listener| !listener.wants(change) || listener.send(method, params.clone());
        self.live.borrow_mut().listeners.retain(is_open);
        self.notify_sessions(method, uri).await
    }
}
