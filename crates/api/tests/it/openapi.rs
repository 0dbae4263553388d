//! The documents tell what the API does.

use isobar_api::Principal;
use serde_json::Value as Json;

use crate::world::{RESOURCES, world};

#[tokio::test]
async fn the_document_has_every_route_and_every_reference_leads_somewhere() {
    let world = world().await;
    let document = world.get(&Principal::anonymous(), "/openapi.json").await.is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    for resource in RESOURCES {
        for (path, methods) in [("", 2), ("/{id}", 4), ("/bulk", 1)] {
            let item = &document["paths"][format!("/{resource}{path}")];
            assert_eq!(item.as_object().map(|item| item.len()), Some(methods), "{resource}{path}");
        }
    }
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let schema = &document["components"]["schemas"]["NewTickets"];
    assert_eq!(schema["required"], serde_json::json!(["subject"]));
    assert!(schema["properties"].get("tenant_id").is_none());
}

fn collect(json: &Json, references: &mut Vec<String>) {
    match json {
        Json::Object(entries) => {
            references.extend(entries.get("$ref").and_then(Json::as_str).map(ToOwned::to_owned));
            entries.values().for_each(|entry| collect(entry, references));
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_page_is_html_without_scripts() {
    let page = world().await.get(&Principal::anonymous(), "/docs").await.is(200);
    assert!(page.text.contains("Test &lt;API&gt;") && page.text.contains("PATCH /api/tickets/{id}"));
    assert!(!page.text.contains("<script"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
}
