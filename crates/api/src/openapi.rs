//! OpenAPI 3.1 of the declared resources.
//!
//! The document is made from the declarations that the handlers run by, so it cannot name a column or a method that does not
//! exist. `cargo xtask schema` tests the API against it, natively and as a Worker.

use serde_json::{Map, Value as Json, json};

use crate::resource::{Kind, MAX_LIMIT, OPERATORS};
use crate::{Column, Policy, Resource, Shape};

/// The document.
pub(crate) fn document(title: &str, resources: &[Resource], more: &[(String, Json)]) -> Json {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in resources {
        let base = format!("/{}", resource.name);
        let items = [(base.clone(), collection(resource)), (format!("{base}/{{id}}"), item(resource))];
        for (path, item) in items {
            if item.as_object().is_some_and(|item| item.keys().any(|key| key != "parameters")) {
                paths.insert(path, item);
            }
        }
        if is_written(resource) {
            paths.insert(format!("{base}/bulk"), json!({"post": bulk(resource)}));
        }
        let name = type_name(resource);
        schemas.insert(name.clone(), shown_schema(resource));
        schemas.insert(format!("New{name}"), input_schema(resource, true));
        schemas.insert(format!("{name}Patch"), input_schema(resource, false));
    }
    // A path of the application's own may be a resource's, too, with other methods.
    for (path, item) in more {
        let known = paths.entry(path.clone()).or_insert_with(|| json!({}));
        known.as_object_mut().into_iter().zip(item.as_object()).for_each(|(known, item)| known.extend(item.clone()));
    }
    schemas.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {"title": title, "version": env!("CARGO_PKG_VERSION")},
        "servers": [{"url": "/api"}],
        "security": [{"session": []}, {"key": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Problem": {
                "description": "An error (RFC 9457)",
                "content": {"application/problem+json": {"schema": reference("schemas/Problem")}},
            }},
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-session"},
                "key": {"type": "http", "scheme": "bearer"},
            },
        },
    })
}

/// `support_tickets` is `SupportTickets`.
fn type_name(resource: &Resource) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    resource.name.split(['_', '-']).filter(|word| !word.is_empty()).map(capital).collect()
}

fn collection(resource: &Resource) -> Json {
    let name = type_name(resource);
    let policies = &resource.policies;
    let mut item = Map::new();
    if policies.read != Policy::Nobody {
        let page = json!({
            "type": "object",
            "required": ["items", "next"],
            "properties": {
                "items": {"type": "array", "items": {"type": "object"}},
                "next": {"type": ["string", "null"], "description": "The cursor of the next page"},
            },
        });
        item.insert(
            "get".to_owned(),
            operation(
                resource,
                "list",
                "List",
                json!({
                    "description": format!("{} Default order: {:?}.", resource.description, resource.sort),
                    "parameters": list_parameters(resource),
                }),
                [("200", answer("A page of rows, with the chosen columns", page, &[]))],
            ),
        );
    }
    if policies.create != Policy::Nobody {
        item.insert(
            "post".to_owned(),
            operation(
                resource,
                "create",
                "Create",
                json!({
                    "parameters": [{
                        "name": "Idempotency-Key", "in": "header",
                        "description": "A request repeated with the same key within a day runs once; its answer is repeated.",
                        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
                    }],
                    "requestBody": body(&format!("New{name}")),
                }),
                [("201", answer("The created row", reference(&format!("schemas/{name}")), &["ETag", "Location"]))],
            ),
        );
    }
    item.into()
}

fn item(resource: &Resource) -> Json {
    let name = type_name(resource);
    let policies = &resource.policies;
    let shown = || reference(&format!("schemas/{name}"));
    let mut item = Map::new();
    item.insert(
        "parameters".to_owned(),
        json!([{
            "name": "id", "in": "path", "required": true,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        }]),
    );
    if policies.read != Policy::Nobody {
        let known = json!({"parameters": [header("If-None-Match", "An ETag; 304 if the row still has it")]});
        let answers = [("200", answer("The row", shown(), &["ETag"])), ("304", json!({"description": "Not modified"}))];
        item.insert("get".to_owned(), operation(resource, "get", "Get", known, answers));
    }
    let if_match = |description: &str, required: bool| {
        let mut header = header("If-Match", description);
        header["schema"]["pattern"] = json!("^(\\*|\"[0-9]{1,15}\")$");
        header["required"] = required.into();
        header
    };
    if policies.update != Policy::Nobody {
        let more = json!({
            "parameters": [if_match("The ETag of the row, or * for any. Without it the answer is 428.", true)],
            "requestBody": body(&format!("{name}Patch")),
        });
        let answers = [("200", answer("The changed row", shown(), &["ETag"]))];
        item.insert("patch".to_owned(), operation(resource, "update", "Change", more, answers));
    }
    if policies.delete != Policy::Nobody {
        let more = json!({"parameters": [if_match("The ETag of the row, or * for any", false)]});
        let answers = [("204", json!({"description": "Deleted"}))];
        item.insert("delete".to_owned(), operation(resource, "delete", "Delete", more, answers));
    }
    item.into()
}

fn bulk(resource: &Resource) -> Json {
    let name = type_name(resource);
    let of = |op: &str, more: Json, required: &[&str]| {
        let mut properties = json!({"op": {"const": op}});
        let entries = properties.as_object_mut().into_iter();
        entries.zip(more.as_object()).for_each(|(to, more)| to.extend(more.clone()));
        let required: Vec<_> = ["op"].iter().chain(required).collect();
        json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
    };
    let id = json!({"type": "string"});
    let revision = json!({"type": "integer", "minimum": 1, "maximum": (1_i64 << 53) - 1});
    let create = of("create", json!({"value": reference(&format!("schemas/New{name}"))}), &["value"]);
    let value = reference(&format!("schemas/{name}Patch"));
    let update = of("update", json!({"id": id, "revision": revision, "value": value}), &["id", "revision", "value"]);
    let delete = of("delete", json!({"id": id, "revision": revision}), &["id", "revision"]);
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["operations"],
        "properties": {"operations": {
            "type": "array", "minItems": 1, "maxItems": 50, "items": {"oneOf": [create, update, delete]},
        }},
    });
    let result = json!({"type": "object", "properties": {"id": {"type": "string"}, "revision": {"type": "integer"}}});
    let results = json!({"type": "object", "properties": {"results": {"type": "array", "items": result}}});
    let more = json!({
        "description": "Runs all operations, or none of them.",
        "requestBody": {"required": true, "content": {"application/json": {"schema": schema}}},
    });
    operation(resource, "bulk", "Write many", more, [("200", answer("The written rows", results, &[]))])
}

fn operation<const N: usize>(
    resource: &Resource,
    id: &str,
    summary: &str,
    more: Json,
    answers: [(&str, Json); N],
) -> Json {
    let mut responses: Map<String, Json> = answers.into_iter().map(|(status, it)| (status.to_owned(), it)).collect();
    responses.insert("4XX".to_owned(), reference("responses/Problem"));
    responses.insert("5XX".to_owned(), reference("responses/Problem"));
    let mut operation = json!({
        "operationId": format!("{id}_{}", resource.name),
        "tags": [resource.name],
        "summary": format!("{summary} {}", resource.name.replace('_', " ")),
        "responses": responses,
    });
    let entries = operation.as_object_mut().into_iter();
    entries.zip(more.as_object()).for_each(|(to, more)| to.extend(more.clone()));
    operation
}

fn list_parameters(resource: &Resource) -> Vec<Json> {
    let query = |name: &str, description: &str, schema: Json| json!({"name": name, "in": "query", "description": description, "schema": schema});
    let names = |columns: &[Column]| columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
    let shown = resource.all_shown();
    let sortable: Vec<_> = shown.iter().filter(|column| column.sortable).cloned().collect();
    let text = || json!({"type": "string"});
    let mut parameters = vec![
        query("limit", "Rows of a page", json!({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50})),
        query("cursor", "`next` of the previous page", text()),
        query(
            "sort",
            &format!("Columns, separated by commas; a leading - sorts descending: {}", names(&sortable)),
            text(),
        ),
        query("fields", &format!("Columns, separated by commas: {}", names(&shown)), text()),
    ];
    if resource.search.is_some() {
        parameters.push(query("q", "Search words; all must match, the last one as a prefix", text()));
    }
    let operators = OPERATORS.map(|(name, _)| name).join(", ");
    for column in shown.iter().filter(|column| column.filterable()) {
        let description =
            format!("Only rows with this value. Also {}[operator]: {operators}, in, prefix, null", column.name);
        let mut schema = column_schema(column);
        if matches!(column.kind, Kind::Text { .. }) {
            schema = text(); // a text that no row can have finds nothing
        }
        parameters.push(query(column.name, &description, schema));
    }
    parameters
}

fn shown_schema(resource: &Resource) -> Json {
    let columns = resource.all_shown();
    let properties: Map<String, Json> =
        columns.iter().map(|column| (column.name.to_owned(), described(column, shown_column(column)))).collect();
    let required: Vec<_> = columns.iter().map(|column| column.name).collect();
    json!({"type": "object", "description": resource.description, "required": required, "properties": properties})
}

fn shown_column(column: &Column) -> Json {
    let schema = match column.kind {
        // Older rows may have what is not taken any more.
        Kind::Text { .. } | Kind::Reference(_) => json!({"type": "string"}),
        Kind::Secret { .. } => json!({"type": "object", "properties": {"sealed": {"const": true}}}),
        _ => column_schema(column),
    };
    nullable(column, schema)
}

fn input_schema(resource: &Resource, creates: bool) -> Json {
    let taken = || resource.columns.iter().filter(|column| !column.read_only && (creates || !column.immutable));
    let property =
        |column: &Column| (column.name.to_owned(), described(column, nullable(column, column_schema(column))));
    let properties: Map<String, Json> = taken().map(property).collect();
    let required: Vec<_> = taken().filter(|column| creates && column.required).map(|column| column.name).collect();
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

/// Returns the schema of the values that a column accepts.
fn column_schema(column: &Column) -> Json {
    match &column.kind {
        Kind::Text { min, max, format } => {
            let pattern = format.map_or("^[^\\u0000]*$", |format| format.pattern());
            json!({"type": "string", "minLength": min, "maxLength": max, "pattern": pattern})
        }
        Kind::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Number => json!({"type": "number"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Timestamp => json!({"type": "string", "format": "date-time"}),
        Kind::Choice(choices) => json!({"type": "string", "enum": choices}),
        Kind::Json { shape, .. } => match shape {
            Shape::Object => json!({"type": "object"}),
            Shape::Array => json!({"type": "array"}),
            Shape::Any => json!({"type": ["object", "array", "string", "number", "boolean"]}),
        },
        Kind::Reference(_) => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}),
        Kind::Secret { .. } => json!({"type": "string", "minLength": 1, "writeOnly": true}),
    }
}

fn nullable(column: &Column, schema: Json) -> Json {
    if !column.nullable() { schema } else { json!({"anyOf": [schema, {"type": "null"}]}) }
}

fn described(column: &Column, mut schema: Json) -> Json {
    let facts = [
        ("description", (!column.description.is_empty()).then(|| column.description.into())),
        ("default", column.default.clone()),
        ("readOnly", column.read_only.then_some(Json::Bool(true))),
    ];
    let entries = facts.into_iter().filter_map(|(name, fact)| Some((name.to_owned(), fact?)));
    schema.as_object_mut().into_iter().zip([entries]).for_each(|(schema, entries)| schema.extend(entries));
    schema
}

fn body(schema: &str) -> Json {
    let schema = reference(&format!("schemas/{schema}"));
    json!({"required": true, "content": {"application/json": {"schema": schema}}})
}

fn answer(description: &str, schema: Json, headers: &[&str]) -> Json {
    let headers: Map<String, Json> =
        headers.iter().map(|name| ((*name).to_owned(), json!({"schema": {"type": "string"}}))).collect();
    json!({"description": description, "headers": headers, "content": {"application/json": {"schema": schema}}})
}

fn header(name: &str, description: &str) -> Json {
    json!({"name": name, "in": "header", "description": description, "schema": {"type": "string"}})
}

fn problem_schema() -> Json {
    let error = json!({
        "type": "object", "required": ["field", "detail"],
        "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
    });
    json!({
        "type": "object",
        "required": ["status", "title"],
        "properties": {
            "status": {"type": "integer"},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "errors": {"type": "array", "items": error},
        },
    })
}

fn is_written(resource: &Resource) -> bool {
    let policies = &resource.policies;
    [policies.create, policies.update, policies.delete].iter().any(|policy| *policy != Policy::Nobody)
}

fn reference(to: &str) -> Json {
    json!({"$ref": format!("#/components/{to}")})
}
