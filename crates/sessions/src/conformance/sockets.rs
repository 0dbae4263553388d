//! WebSockets.

use std::time::Duration;

use futures_util::future::{Either, select};
use isobar_testkit::{Case, Failure, cases, ensure, ensure_eq};
use serde_json::json;

use super::{Outcome, Subject, act, eventually, refused};
use crate::{ClientSocket, CloseFrame, Message, SessionNamespaceExt};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "sockets" => {
            messages_are_answered_in_order,
            binary_messages_stay_binary,
            sockets_are_found_by_tag,
            tags_have_limits,
            attachments_are_kept_and_limited,
            an_auto_response_does_not_wake_the_object,
            auto_responses_have_limits,
            the_object_can_close,
            a_closed_socket_is_listed_until_its_client_answers,
            the_client_can_close,
            broken_connection_reaches_the_handler,
            a_failing_handler_leaves_the_socket_open,
            sockets_survive_hibernation if "evict",
            a_reset_breaks_the_sockets,
        }
    }
}

/// The next message, or a failure after five seconds.
pub(super) async fn next(socket: &mut ClientSocket) -> Result<Option<Result<Message, CloseFrame>>, Failure> {
    let timeout = isobar_testkit::sleep(Duration::from_secs(5));
    match select(Box::pin(socket.receive()), Box::pin(timeout)).await {
        Either::Left((received, _)) => Ok(received),
        Either::Right(_) => Err(Failure("nothing came for five seconds".into())),
    }
}

async fn next_text(socket: &mut ClientSocket) -> Result<String, Failure> {
    match next(socket).await? {
        Some(Ok(Message::Text(text))) => Ok(text),
        other => Err(Failure(format!("a text was due, got {other:?}"))),
    }
}

async fn connect(sessions: &Subject, name: &str, tag: &str) -> Result<ClientSocket, Failure> {
    let mut socket = sessions.connect(&sessions.id_from_name(name), &format!("/socket/{tag}")).await?;
    ensure_eq!(next_text(&mut socket).await?, format!("welcome {tag}"));
    Ok(socket)
}

/// Both ways, for many messages.
async fn messages_are_answered_in_order(sessions: Subject) -> Outcome {
    let mut socket = connect(&sessions, "ws/order", "a").await?;
    for number in 0..50 {
        socket.send(format!("{number}"))?;
    }
    for number in 0..50 {
        ensure_eq!(next_text(&mut socket).await?, format!("echo {number}"));
    }
    Ok(())
}

/// The kind of a message is kept.
async fn binary_messages_stay_binary(sessions: Subject) -> Outcome {
    let mut socket = connect(&sessions, "ws/binary", "a").await?;
    let bytes = bytes::Bytes::from_static(&[0, 255, 1]);
    socket.send(bytes.clone())?;
    ensure_eq!(next(&mut socket).await?, Some(Ok(Message::Binary(bytes))));
    Ok(())
}

/// Newest first; without a tag all of them.
async fn sockets_are_found_by_tag(sessions: Subject) -> Outcome {
    let mut one = connect(&sessions, "ws/tags", "one").await?;
    let mut two = connect(&sessions, "ws/tags", "two").await?;
    let counts = act(&sessions, "ws/tags", json!([{"op": "sockets", "tag": "one"}, {"op": "sockets", "tag": "all"}, {"op": "sockets"}, {"op": "sockets", "tag": "none"}])).await?;
    ensure_eq!(counts, json!([1, 2, 2, 0]));
    let newest_first = act(&sessions, "ws/tags", json!([{"op": "socket tags"}])).await?;
    ensure_eq!(newest_first, json!([[["two", "all"], ["one", "all"]]]));
    one.send("broadcast hello")?;
    ensure_eq!((next_text(&mut one).await?, next_text(&mut two).await?), ("hello".into(), "hello".into()));
    two.send("tags")?;
    ensure_eq!(next_text(&mut two).await?, "two,all");
    Ok(())
}

/// 10 different tags of 256 characters; repeated ones count once.
async fn tags_have_limits(sessions: Subject) -> Outcome {
    let accept = |tags: Vec<String>| json!([{"op": "accept", "tags": tags}]);
    let many = refused(&sessions, "ws/limits", accept((0..11).map(|tag| tag.to_string()).collect())).await?;
    ensure_eq!(many, "a Hibernatable WebSocket cannot have more than 10 tags");
    let long = refused(&sessions, "ws/limits", accept(vec!["é".repeat(200)])).await?;
    ensure!(long.ends_with("is longer than the max tag length (256 characters)."), "{long}");
    ensure_eq!(act(&sessions, "ws/limits", accept(vec!["z".to_owned(); 11])).await?, json!([["z"]]));
    Ok(())
}

/// One that is too large is refused, and the one before stays.
async fn attachments_are_kept_and_limited(sessions: Subject) -> Outcome {
    let mut socket = connect(&sessions, "ws/attachment", "a").await?;
    socket.send("attachment")?;
    ensure_eq!(next_text(&mut socket).await?, "");
    socket.send("attach Ada")?;
    socket.send(format!("attach {}", "x".repeat(20_000)))?;
    socket.send("attachment")?;
    ensure_eq!(next_text(&mut socket).await?, "Ada");
    Ok(())
}

/// Only the very text is answered; anything else is a message.
async fn an_auto_response_does_not_wake_the_object(sessions: Subject) -> Outcome {
    act(&sessions, "ws/auto", json!([{"op": "auto response", "request": "ping", "response": "pong"}])).await?;
    let mut socket = connect(&sessions, "ws/auto", "a").await?;
    socket.send("ping")?;
    ensure_eq!(next_text(&mut socket).await?, "pong");
    socket.send("ping ")?;
    ensure_eq!(next_text(&mut socket).await?, "echo ping ");
    Ok(())
}

/// 2,048 bytes each way.
async fn auto_responses_have_limits(sessions: Subject) -> Outcome {
    let long = "x".repeat(2049);
    let request =
        refused(&sessions, "ws/auto limit", json!([{"op": "auto response", "request": long, "response": "a"}])).await?;
    ensure_eq!(request, "Request cannot be larger than 2048 bytes. A request of size 2049 was provided.");
    let response =
        refused(&sessions, "ws/auto limit", json!([{"op": "auto response", "request": "a", "response": long}])).await?;
    ensure_eq!(response, "Response cannot be larger than 2048 bytes. A response of size 2049 was provided.");
    Ok(())
}

/// Nothing can be sent afterwards; the handler of the close runs when the client has answered.
async fn the_object_can_close(sessions: Subject) -> Outcome {
    let mut socket = connect(&sessions, "ws/close", "a").await?;
    socket.send("close bye")?;
    ensure_eq!(next(&mut socket).await?, Some(Err(CloseFrame::new(4001, "bye"))));
    eventually(
        &sessions,
        "ws/close",
        json!({"op": "get", "key": "send after close"}),
        json!("Can't call WebSocket send() after close()."),
    )
    .await?;
    socket.close(CloseFrame::new(4001, "bye"))?;
    eventually(&sessions, "ws/close", json!({"op": "get", "key": "closed"}), json!([4001, "bye", true])).await
}

/// It is among the sockets, and not open.
async fn a_closed_socket_is_listed_until_its_client_answers(sessions: Subject) -> Outcome {
    let mut socket = connect(&sessions, "ws/listed", "a").await?;
    socket.send("close bye")?;
    ensure_eq!(next(&mut socket).await?, Some(Err(CloseFrame::new(4001, "bye"))));
    // In the same event: still there, and not open.
    eventually(&sessions, "ws/listed", json!({"op": "get", "key": "sockets after close"}), json!([1, 0])).await?;
    socket.close(CloseFrame::new(4001, "bye"))?;
    eventually(&sessions, "ws/listed", json!({"op": "sockets"}), json!(0)).await
}

/// The handler gets code and reason, and the socket is gone after it.
async fn the_client_can_close(sessions: Subject) -> Outcome {
    let socket = connect(&sessions, "ws/client", "a").await?;
    socket.close(CloseFrame::new(1000, "hey"))?;
    eventually(&sessions, "ws/client", json!({"op": "get", "key": "closed"}), json!([1000, "hey", true])).await?;
    eventually(&sessions, "ws/client", json!({"op": "sockets"}), json!(0)).await
}

/// Code 1006, and not clean.
async fn broken_connection_reaches_the_handler(sessions: Subject) -> Outcome {
    drop(connect(&sessions, "ws/broken", "a").await?);
    let told = json!([1006, "WebSocket disconnected without sending Close frame.", false]);
    eventually(&sessions, "ws/broken", json!({"op": "get", "key": "closed"}), told).await
}

/// An error of one message does not concern the next.
async fn a_failing_handler_leaves_the_socket_open(sessions: Subject) -> Outcome {
    let mut socket = connect(&sessions, "ws/fail", "a").await?;
    socket.send("fail")?;
    socket.send("x")?;
    ensure_eq!(next_text(&mut socket).await?, "echo x");
    Ok(())
}

/// With their tags and attachments, on a new instance.
async fn sockets_survive_hibernation(sessions: Subject) -> Outcome {
    let mut socket = connect(&sessions, "ws/hibernate", "a").await?;
    socket.send("attach kept")?;
    socket.send("memory")?;
    ensure_eq!(next_text(&mut socket).await?, "1");
    sessions.evict(&sessions.id_from_name("ws/hibernate")).await?;
    socket.send("memory")?;
    ensure_eq!(next_text(&mut socket).await?, "1");
    socket.send("attachment")?;
    ensure_eq!(next_text(&mut socket).await?, "kept");
    socket.send("tags")?;
    ensure_eq!(next_text(&mut socket).await?, "a,all");
    Ok(())
}

/// They end without a close frame.
async fn a_reset_breaks_the_sockets(sessions: Subject) -> Outcome {
    let mut socket = connect(&sessions, "ws/reset", "a").await?;
    drop(refused(&sessions, "ws/reset", json!([{"op": "abort", "text": "x"}])).await?);
    ensure_eq!(next(&mut socket).await?, None);
    ensure_eq!(act(&sessions, "ws/reset", json!([{"op": "sockets"}])).await?, json!([0]));
    Ok(())
}
