//! The documentation of an API as one HTML page, without scripts.
//!
//! The page is made of the same declarations as the OpenAPI document, and lists the routes of the document, so that routes
//! that the application documents are on it, too. Every text that is not markup passes `escaped`. It needs no script, no font
//! and no other file, so its content security policy is `default-src 'none'`.

use std::fmt::Write;

use serde_json::Value as Json;

use crate::{Policy, Resource};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884;vertical-align:top}\
code{font-size:.95em}h2{margin-top:3rem}.wide{overflow-x:auto}";

/// The page.
pub(crate) fn html(title: &str, resources: &[Resource], document: &Json) -> String {
    let mut html = String::new();
    let title = escaped(title);
    html.push_str(&format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body><main>\
         <h1>{title}</h1><p>OpenAPI 3.1 document: <a href=\"/api/openapi.json\">/api/openapi.json</a>. A list has \
         <code>items</code> and <code>next</code>, the <code>cursor</code> of the next page. A change needs \
         <code>If-Match</code> with the row's ETag. Errors are <code>application/problem+json</code>.</p>"
    ));
    html.push_str(
        "<h2>Routes</h2><div class=\"wide\"><table><thead><tr><th>Route</th><th>Description</th></tr></thead><tbody>",
    );
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten().filter(|(method, _)| *method != "parameters")
        {
            let summary = operation["summary"].as_str().unwrap_or_default();
            let method = method.to_ascii_uppercase();
            let path = escaped(path);
            put(
                &mut html,
                format_args!("<tr><td><code>{method} /api{path}</code></td><td>{}</td></tr>", escaped(summary)),
            );
        }
    }
    html.push_str("</tbody></table></div>");
    for resource in resources {
        section(&mut html, resource);
    }
    html.push_str("</main></body></html>\n");
    html
}

fn section(html: &mut String, resource: &Resource) {
    let policies = &resource.policies;
    put(
        html,
        format_args!(
            "<h2 id=\"{name}\">{name}</h2><p>{}</p><p>Read: {}. Create: {}. Change: {}. Delete: {}.</p>",
            escaped(resource.description),
            who(policies.read),
            who(policies.create),
            who(policies.update),
            who(policies.delete),
            name = escaped(resource.name),
        ),
    );
    html.push_str("<div class=\"wide\"><table><thead><tr><th>Column</th><th>Takes</th><th></th></tr></thead><tbody>");
    for column in resource.all_shown() {
        let facts = [
            (column.required && !column.read_only, "required"),
            (column.read_only, "read-only"),
            (column.immutable, "set at creation only"),
            (column.sortable, "sortable"),
        ];
        let facts: Vec<_> = facts.into_iter().filter(|(is, _)| *is).map(|(_, fact)| fact).collect();
        put(
            html,
            format_args!(
                "<tr><td><code>{}</code></td><td>{} {}</td><td>{}</td></tr>",
                escaped(column.name),
                escaped(&column.expected()),
                escaped(column.description),
                facts.join(", "),
            ),
        );
    }
    html.push_str("</tbody></table></div>");
}

fn who(policy: Policy) -> String {
    match policy {
        Policy::Nobody => "no one".to_owned(),
        Policy::Public => "everyone".to_owned(),
        Policy::AtLeast(role) => format!("{role} and above"),
    }
}

fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("writing to a string never fails");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
