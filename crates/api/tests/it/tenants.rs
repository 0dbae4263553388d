//! Nobody reaches what is another's, or learns that it is there.

use isobar_api::{Principal, Role};
use serde_json::json;

use crate::world::{RESOURCES, World, example, member, world};

/// Every way to touch a row by its id; the answers' statuses and texts.
async fn touches(world: &World, principal: &Principal, resource: &str, id: &str) -> Vec<(u16, String)> {
    let path = format!("/{resource}/{id}");
    let mut answers = vec![
        world.get(principal, &path).await,
        world.patch(principal, &path, "*", json!({})).await,
        world.patch(principal, &path, "\"1\"", example(resource)).await,
        world.send(principal, "DELETE", &path, &[], None).await,
        world.send(principal, "DELETE", &path, &[("if-match", "\"1\"")], None).await,
        world.send(principal, "GET", &path, &[("if-none-match", "*")], None).await,
    ];
    for op in [
        json!({"op": "update", "id": id, "revision": 1, "value": {}}),
        json!({"op": "delete", "id": id, "revision": 1}),
    ] {
        answers.push(world.post(principal, &format!("/{resource}/bulk"), json!({ "operations": [op] })).await);
    }
    for query in ["", "?limit=1", "?sort=id"] {
        answers.push(world.get(principal, &format!("/{resource}{query}")).await);
    }
    answers.push(world.get(principal, &format!("/{resource}?id={id}")).await);
    answers.into_iter().map(|answer| (answer.status, answer.text)).collect()
}

#[tokio::test]
async fn another_tenants_rows_are_as_if_they_were_not() {
    let world = world().await;
    let owner = member("a");
    let stranger = Principal::member("stranger", "b", Role::Owner);
    for resource in RESOURCES.into_iter().filter(|resource| *resource != "themes") {
        let id = world.create(&owner, resource, example(resource)).await;
        let before = world.get(&owner, &format!("/{resource}/{id}")).await.is(200).text;
        let theirs = touches(&world, &stranger, resource, &id).await;
        let nothing = touches(&world, &stranger, resource, "018f0000-0000-7000-8000-000000000000").await;
        assert_eq!(theirs, nothing, "{resource}");
        assert!(theirs.iter().all(|(_, text)| !text.contains(&id)), "{resource}: {theirs:?}");
        assert_eq!(world.get(&owner, &format!("/{resource}/{id}")).await.is(200).text, before);
    }
}

#[tokio::test]
async fn another_tenants_rows_cannot_be_referred_to() {
    let world = world().await;
    let theirs = world.create(&member("a"), "projects", example("projects")).await;
    let me = member("b");
    let create = |id: &str| json!({"subject": "x", "project_id": id});
    let refused = world.post(&me, "/tickets", create(&theirs)).await.is(400);
    let unknown = world.post(&me, "/tickets", create("none")).await.is(400);
    assert_eq!((refused.text, unknown.fields()), (unknown.text.clone(), vec!["project_id".to_owned()]));
    let mine = world.create(&me, "tickets", example("tickets")).await;
    world.patch(&me, &format!("/tickets/{mine}"), "*", json!({"project_id": theirs})).await.is(400);
    let moved = json!({"operations": [{"op": "create", "value": create(&theirs)}]});
    assert_eq!(world.post(&me, "/tickets/bulk", moved).await.is(400).fields(), ["operations[0].value.project_id"]);
}

#[tokio::test]
async fn no_body_chooses_the_tenant_or_the_user() {
    let world = world().await;
    let me = member("a");
    for name in ["tenant_id", "user_id"] {
        let refused = world.post(&me, "/notes", json!({"text": "x", name: "b"})).await.is(400);
        assert_eq!(refused.fields(), [name]);
        let id = world.create(&me, "notes", example("notes")).await;
        world.patch(&me, &format!("/notes/{id}"), "*", json!({name: "b"})).await.is(400);
    }
}

#[tokio::test]
async fn users_see_their_own_and_admins_everybodys() {
    let world = world().await;
    let ada = Principal::member("ada", "a", Role::Member);
    let bob = Principal::member("bob", "a", Role::Member);
    let admin = Principal::member("admin", "a", Role::Admin);
    let id = world.create(&ada, "notes", example("notes")).await;
    let path = format!("/notes/{id}");
    assert_eq!(touches(&world, &bob, "notes", &id).await, touches(&world, &bob, "notes", "none").await);
    world.get(&ada, &path).await.is(200);
    assert_eq!(world.get(&admin, "/notes").await.is(200).json()["items"].as_array().unwrap().len(), 1);
    world.patch(&admin, &path, "*", json!({"text": "seen"})).await.is(200);
    assert_eq!(world.get(&ada, &path).await.is(200).json()["text"], "seen", "it stays Ada's");
    world.create(&admin, "notes", example("notes")).await;
    assert_eq!(world.get(&ada, "/notes").await.is(200).json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn roles_scopes_and_strangers_meet_the_policies() {
    let world = world().await;
    let anonymous = Principal::anonymous();
    for resource in RESOURCES.into_iter().filter(|resource| *resource != "themes") {
        let refused = world.get(&anonymous, &format!("/{resource}")).await.is(401);
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        world.post(&anonymous, &format!("/{resource}"), example(resource)).await.is(401);
        world.post(&anonymous, &format!("/{resource}/bulk"), json!({"operations": []})).await.is(401);
        world.get(&anonymous, &format!("/{resource}/x")).await.is(401);
    }
    world.get(&anonymous, "/themes").await.is(200);
    world.post(&anonymous, "/themes", example("themes")).await.is(401);
    world.post(&member("a"), "/themes", example("themes")).await.is(403);
    world.post(&Principal::member("o", "a", Role::Owner), "/themes", example("themes")).await.is(201);
    let viewer = Principal::member("v", "a", Role::Viewer);
    world.get(&viewer, "/tickets").await.is(200);
    world.post(&viewer, "/tickets", example("tickets")).await.is(403);
    let reads = member("a").with_scopes(["tickets:read".to_owned()]);
    world.get(&reads, "/tickets").await.is(200);
    world.get(&reads, "/projects").await.is(403);
    world.post(&reads, "/tickets", example("tickets")).await.is(403);
}

#[tokio::test]
async fn routes_of_the_application_have_their_policies() {
    let world = world().await;
    world.get(&Principal::anonymous(), "/stats/x").await.is(401);
    assert_eq!(world.get(&member("a"), "/stats/x").await.is(200).text, "counted");
    world.post(&member("a"), "/stats/x", json!({})).await.is(404);
    world.get(&member("a").with_scopes(["tickets:*".to_owned()]), "/stats/x").await.is(403);
}
