//! Lists: pages, filters, order, columns, words.

use isobar_api::Principal;
use serde_json::{Value as Json, json};

use crate::world::{World, member, world};

async fn with_tickets(count: usize) -> (World, Principal) {
    let world = world().await;
    let me = member("a");
    for number in 0..count {
        let priority = number % 3 + 1;
        let status = if number % 2 == 0 { "open" } else { "closed" };
        let body = json!({"subject": format!("Ticket {number:03}"), "priority": priority, "status": status});
        world.create(&me, "tickets", body).await;
        world.create(&member("b"), "tickets", json!({"subject": "of somebody else"})).await;
    }
    (world, me)
}

async fn subjects(world: &World, me: &Principal, query: &str) -> Vec<String> {
    let page = world.get(me, &format!("/tickets?{query}")).await.is(200).json();
    page["items"].as_array().unwrap().iter().map(|row| row["subject"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_in_every_order_have_every_row_once() {
    let (world, me) = with_tickets(25).await;
    for sort in
        ["", "id", "-subject", "priority,-subject", "-priority,subject,id", "status", "status,-priority,-created_at"]
    {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let sort = if sort.is_empty() { String::new() } else { format!("&sort={sort}") };
            let path = format!("/tickets?limit=4{sort}{cursor}");
            let page = world.get(&me, &path).await.is(200).json();
            seen.extend(page["items"].as_array().unwrap().iter().cloned());
            match &page["next"] {
                Json::String(next) => cursor = format!("&cursor={next}"),
                _ => break,
            }
        }
        let mut ids: Vec<_> = seen.iter().map(|row| row["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((seen.len(), ids.len()), (25, 25), "{sort}");
        if sort == "priority,-subject" {
            let key =
                |row: &Json| (row["priority"].as_i64(), std::cmp::Reverse(row["subject"].as_str().unwrap().to_owned()));
            assert!(seen.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
        }
    }
    let first = world.get(&me, "/tickets?limit=2").await.is(200).json();
    assert!(first["items"][0]["id"].as_str() > first["items"][1]["id"].as_str(), "the newest first");
}

#[tokio::test]
async fn rows_that_come_and_go_between_pages_move_no_others() {
    let (world, me) = with_tickets(10).await;
    let first = world.get(&me, "/tickets?limit=5&sort=subject").await.is(200).json();
    let next = first["next"].as_str().unwrap();
    world.create(&me, "tickets", json!({"subject": "Ticket 0000"})).await;
    let gone = first["items"][4]["id"].as_str().unwrap();
    world.send(&me, "DELETE", &format!("/tickets/{gone}"), &[], None).await.is(204);
    let rest = subjects(&world, &me, &format!("limit=5&sort=subject&cursor={next}")).await;
    assert_eq!(rest.first().map(String::as_str), Some("Ticket 005"));
    assert_eq!(rest.len(), 5);
}

#[tokio::test]
async fn filters_narrow_and_combine() {
    let (world, me) = with_tickets(12).await;
    for (query, expected) in [
        ("status=open", 6),
        ("status=open&priority=1", 2),
        ("priority[gte]=2", 8),
        ("priority[in]=1,3", 8),
        ("priority[ne]=1&priority[lt]=3", 4),
        ("subject[prefix]=Ticket%2001", 2),
        ("subject[prefix]=ticket", 0),
        ("subject=Ticket%20003", 1),
        ("due_at[null]=true", 12),
        ("due_at[null]=false", 0),
        ("due_at[gt]=2020-01-01T00:00:00Z", 0),
        ("created_at[gt]=2020-01-01T00:00:00Z", 12),
        ("urgent=false", 12),
        ("urgent[ne]=false", 0),
    ] {
        assert_eq!(subjects(&world, &me, query).await.len(), expected, "{query}");
    }
}

#[tokio::test]
async fn chosen_columns_alone_are_answered() {
    let (world, me) = with_tickets(1).await;
    let page = world.get(&me, "/tickets?fields=subject,status").await.is(200).json();
    assert_eq!(page["items"][0], json!({"subject": "Ticket 000", "status": "open"}));
}

#[tokio::test]
async fn words_are_found_and_mean_nothing_else() {
    let world = world().await;
    let me = member("a");
    world.create(&me, "tickets", json!({"subject": "The printer burns", "body": "It is on fire"})).await;
    world.create(&me, "tickets", json!({"subject": "The coffee is cold"})).await;
    world.create(&member("b"), "tickets", json!({"subject": "Our printer burns too"})).await;
    for (words, expected) in [
        ("printer", 1),
        ("PRINTER fire", 1),
        ("the", 2),
        ("cof", 1),
        ("printer coffee", 0),
        ("NOT printer", 0),
        ("subject:printer", 0),
        ("printer\" OR \"coffee", 0),
        ("burn*", 1),
    ] {
        let query = format!("q={}", words.replace('"', "%22").replace(' ', "+"));
        assert_eq!(subjects(&world, &me, &query).await.len(), expected, "{words}");
    }
    for none in ["q=", "q=***", "q=%00"] {
        world.get(&me, &format!("/tickets?{none}")).await.is(400);
    }
    world.get(&me, "/projects?q=x").await.is(400);
}

#[tokio::test]
async fn parameters_that_mean_nothing_are_refused_by_name() {
    let (world, me) = with_tickets(2).await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("sort=colour", "sort"),
        ("sort=tags", "sort"),
        ("sort=subject,subject", "sort"),
        ("sort=", "sort"),
        ("fields=colour", "fields"),
        ("fields=tenant_id", "fields"),
        ("cursor=x", "cursor"),
        ("colour=red", "colour"),
        ("tenant_id=b", "tenant_id"),
        ("tags=a", "tags"),
        ("priority=high", "priority"),
        ("priority[like]=1", "priority[like]"),
        ("priority[gte", "priority[gte"),
        ("status=lost", "status"),
        ("subject[null]=true", "subject[null]"),
        ("due_at=now", "due_at"),
    ] {
        assert_eq!(world.get(&me, &format!("/tickets?{query}")).await.is(400).fields(), [field], "{query}");
    }
    let next = world.get(&me, "/tickets?limit=1").await.is(200).json()["next"].as_str().unwrap().to_owned();
    world.get(&me, &format!("/tickets?limit=1&sort=subject&cursor={next}")).await.is(400);
    let all: String = (0..30).map(|number| format!("&subject[{}]={number}", ["gt", "lt", "ne"][number % 3])).collect();
    world.get(&me, &format!("/tickets?limit=1{all}")).await.is(400);
}

#[tokio::test]
async fn no_parameter_is_ever_sql() {
    let (world, me) = with_tickets(3).await;
    let attacks = [
        "' OR 1=1 --",
        "\" OR 1=1 --",
        "1; DROP TABLE tickets",
        "id) OR (1=1",
        "%' OR '%'='",
        "\\",
        "\u{0}",
        "?",
        "?1",
        "x' UNION SELECT id, tenant_id FROM tickets --",
        "rowid",
        "id\" DESC, \"tenant_id",
    ];
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for attack in attacks {
        let attack = encode(attack);
        for query in [
            format!("subject={attack}"),
            format!("subject[prefix]={attack}"),
            format!("subject[in]={attack}"),
            format!("q={attack}"),
            format!("sort={attack}"),
            format!("fields={attack}"),
            format!("cursor={attack}"),
            format!("{attack}=1"),
            format!("subject[{attack}]=1"),
            format!("id={attack}"),
        ] {
            let answer = world.get(&me, &format!("/tickets?{query}")).await;
            assert!(answer.status == 400 || answer.json()["items"] == json!([]), "{query}: {}", answer.text);
        }
        world.get(&me, &format!("/tickets/{attack}")).await.is(404);
    }
    assert_eq!(subjects(&world, &me, "").await.len(), 3);
}

/// Parameters and bodies of every kind, thousands of them: refused or answered, never a failure of the service.
#[test]
fn nothing_that_is_sent_makes_the_service_fail() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, me) = runtime.block_on(with_tickets(3));
    let names = [
        "q",
        "sort",
        "fields",
        "cursor",
        "limit",
        "id",
        "subject",
        "subject[prefix]",
        "subject[in]",
        "priority[gte]",
        "weight[lt]",
        "due_at",
        "urgent",
        "status[ne]",
        "body[null]",
    ];
    let name = prop_oneof![9 => prop::sample::select(names.map(String::from).to_vec()), 1 => ".{0,20}"];
    let value = prop_oneof!["\\PC{0,30}", "[-'\"%;()*\\\\A-Za-z0-9,. ]{0,40}", "-?[0-9]{1,20}", any::<String>()];
    let parameters = prop::collection::vec((name, value.clone()), 0..4);
    let key =
        prop::sample::select(vec!["subject", "body", "priority", "weight", "tags", "due_at", "project_id", "token"]);
    let body = prop::collection::hash_map(key, value, 0..4);
    let config = ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(parameters in parameters, body in body)| {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let query: Vec<_> =
            parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let listed = runtime.block_on(world.get(&me, &format!("/tickets?{}", query.join("&"))));
        prop_assert!([200, 400].contains(&listed.status), "{query:?}: {}", listed.text);
        let created = runtime.block_on(world.post(&me, "/tickets", json!(body)));
        prop_assert!([201, 400].contains(&created.status), "{body:?}: {}", created.text);
    });
}
