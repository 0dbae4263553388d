//! The sockets of an object, as its host lists them.

use isobar_sessions::{Message, SessionNamespace, SessionNamespaceExt};

use super::faults::open;

#[tokio::test]
async fn sockets_are_listed_with_tags_and_attachments_while_their_object_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    let id = host.id("lobby");
    assert_eq!(host.sockets(&id).await.unwrap(), []);
    let mut ada = host.connect(&id, "/socket/ada").await.unwrap();
    let bob = host.connect(&id, "/socket/bob").await.unwrap();
    assert_eq!(ada.receive().await, Some(Ok(Message::from("welcome ada"))));
    for text in ["attach red", "attachment"] {
        ada.send(text).unwrap();
    }
    assert_eq!(ada.receive().await, Some(Ok(Message::from("red"))));
    host.evict(&id).await.unwrap();
    let sockets = host.sockets(&id).await.unwrap();
    let shown: Vec<_> =
        sockets.iter().map(|one| (one.tags.join(","), one.attachment.as_deref(), one.is_open)).collect();
    let expected = [("ada,all".to_owned(), Some(&b"\"red\""[..]), true), ("bob,all".to_owned(), None, true)];
    assert_eq!(shown, expected);
    assert!(sockets[0].id < sockets[1].id && sockets[0].auto_responded.is_none());
    assert_eq!(host.sockets(&host.id("other")).await.unwrap(), []);

    drop(bob);
    for _ in 0..1000 {
        if host.sockets(&id).await.unwrap().len() == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a socket that has ended is still listed");
}
