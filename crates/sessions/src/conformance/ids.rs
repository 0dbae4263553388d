//! Ids and names.

use isobar_testkit::{Case, Failure, cases, ensure, ensure_eq};
use serde_json::json;

use super::{Outcome, Subject, act};
use crate::ErrorKind;

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "ids" => {
            a_name_has_one_id,
            unique_ids_differ,
            ids_parse_and_foreign_ones_do_not,
            an_object_knows_its_id_and_name,
            objects_that_stored_something_are_listed if "list",
        }
    }
}

/// The same name is always the same id; its text has 64 digits.
async fn a_name_has_one_id(sessions: Subject) -> Outcome {
    let one = sessions.id_from_name("a");
    let same = sessions.id_from_name("a");
    let other = sessions.id_from_name("b");
    ensure_eq!(one, same);
    ensure!(one != other);
    ensure_eq!((one.name(), one.to_string().len()), (Some("a"), 64));
    Ok(())
}

/// They have no name.
async fn unique_ids_differ(sessions: Subject) -> Outcome {
    let one = sessions.unique_id()?;
    let other = sessions.unique_id()?;
    ensure!(one != other);
    ensure_eq!(one.name(), None);
    Ok(())
}

/// Either case is read; another text, or an id of another namespace, is refused with workerd's words.
async fn ids_parse_and_foreign_ones_do_not(sessions: Subject) -> Outcome {
    let id = sessions.unique_id()?;
    ensure_eq!(sessions.parse_id(&id.to_string())?, id);
    ensure_eq!(sessions.parse_id(&id.to_string().to_uppercase())?, id);
    let texts = [
        ("", "Invalid Durable Object ID: must be 64 hex digits"),
        ("abc", "Invalid Durable Object ID: must be 64 hex digits"),
        (&"z".repeat(64), "Invalid Durable Object ID: must be 64 hex digits"),
        (&"0".repeat(64), "Durable Object ID is not valid for this namespace."),
    ];
    for (id, text) in texts {
        let refused = sessions.parse_id(id).err().ok_or_else(|| Failure(format!("{id} was taken")))?;
        ensure_eq!((refused.kind(), refused.to_string()), (ErrorKind::InvalidId, text.to_owned()));
    }
    Ok(())
}

/// The object sees the name that its caller used.
async fn an_object_knows_its_id_and_name(sessions: Subject) -> Outcome {
    let got = act(&sessions, "ids/name", json!([{"op": "id"}])).await?;
    ensure_eq!(got, json!([[sessions.id_from_name("ids/name").to_string(), "ids/name"]]));
    Ok(())
}

/// Objects that were never used are not in the list.
async fn objects_that_stored_something_are_listed(sessions: Subject) -> Outcome {
    act(&sessions, "ids/listed", json!([{"op": "put", "key": "a", "value": 1}])).await?;
    let listed = sessions.list().await?;
    let has = |name| listed.iter().any(|object| object.id == sessions.id_from_name(name) && object.damage.is_none());
    ensure!(has("ids/listed"));
    ensure!(!has("ids/never used"));
    Ok(())
}
