//! The declared resources.

use isobar_api::{Column, Format, Policy, Resource, Role, Shape};
use serde_json::json;

const VIEWER: Policy = Policy::AtLeast(Role::Viewer);
const MEMBER: Policy = Policy::AtLeast(Role::Member);
const ADMIN: Policy = Policy::AtLeast(Role::Admin);
const OWNER: Policy = Policy::AtLeast(Role::Owner);

pub(super) fn all() -> Vec<Resource> {
    [people(), connections(), automation(), settings(), knowledge(), support()].into_iter().flatten().collect()
}

fn name() -> Column {
    Column::text("name").chars(1..=200).required().sortable()
}

fn slug(name: &'static str) -> Column {
    Column::text(name).chars(1..=64).format(Format::Slug).required().sortable()
}

fn description() -> Column {
    Column::text("description").chars(0..=2000)
}

fn tags() -> Column {
    Column::json("tags", Shape::Array).default(json!([]))
}

fn people() -> Vec<Resource> {
    vec![
        Resource::of_tenant("tenants")
            .describe("The caller's own tenant.")
            .tenant_column("id")
            .column(slug("slug"))
            .column(name())
            .read(VIEWER)
            .update(OWNER),
        Resource::of_tenant("memberships")
            .describe("Members of the tenant and their roles. A tenant has at least one owner.")
            .column(Column::text("user_id").read_only().required())
            .column(Column::choice("role", &["viewer", "member", "admin", "owner"]).required())
            .read(ADMIN)
            .update(OWNER)
            .delete(OWNER),
    ]
}

fn connections() -> Vec<Resource> {
    vec![
        Resource::of_tenant("oauth_connections")
            .describe("Accounts at other services that users have connected.")
            .column(Column::text("provider").required().read_only())
            .column(Column::text("subject").required().read_only())
            .column(Column::text("label").required().read_only())
            .column(Column::text("scopes").required().read_only())
            .column(Column::choice("status", &["active", "expired"]).required().read_only())
            .owned_by("user_id", Role::Admin)
            .read(VIEWER)
            .delete(VIEWER),
        Resource::of_tenant("oauth_tokens")
            .describe("Tokens of connections. Sealed: they cannot be read back.")
            .column(Column::reference("connection_id", "oauth_connections").required().read_only())
            .column(Column::secret("access_token").required().read_only())
            .column(Column::secret("refresh_token").read_only())
            .column(Column::timestamp("expires_at").read_only())
            .owned_by("user_id", Role::Admin)
            .read(VIEWER)
            .delete(VIEWER),
        Resource::of_tenant("credentials")
            .describe("Secrets of the tenant for other services. Sealed: they cannot be read back.")
            .column(name())
            .column(Column::choice("kind", &["password", "token", "key", "other"]).default("token"))
            .column(Column::secret("secret").required())
            .read(ADMIN)
            .write(ADMIN),
        Resource::of_tenant("external_connections")
            .describe("Other services that the tenant uses.")
            .column(name())
            .column(Column::choice("kind", &["api", "database", "storage", "webhook", "other"]).required())
            .column(Column::text("url").chars(1..=2000).format(Format::Url))
            .column(Column::reference("credential_id", "credentials"))
            .column(Column::json("settings", Shape::Object).default(json!({})))
            .column(Column::choice("status", &["active", "paused", "failed"]).default("active"))
            .read(MEMBER)
            .write(ADMIN),
    ]
}

fn automation() -> Vec<Resource> {
    vec![
        Resource::of_tenant("workflows")
            .describe("Sequences of steps.")
            .column(name())
            .column(description())
            .column(Column::json("definition", Shape::Object).default(json!({"steps": []})))
            .column(Column::choice("status", &["draft", "active", "paused"]).default("draft"))
            .read(VIEWER)
            .write(MEMBER),
        Resource::of_tenant("workers")
            .describe("Programs that the tenant deploys.")
            .column(slug("name"))
            .column(description())
            .column(Column::json("settings", Shape::Object).default(json!({})))
            .column(Column::choice("status", &["active", "disabled"]).default("active"))
            .read(VIEWER)
            .write(MEMBER),
        Resource::of_tenant("deployments")
            .describe("Deployed versions of workers.")
            .column(Column::reference("worker_id", "workers").required().immutable())
            .column(Column::text("version").chars(1..=64).required().immutable())
            .column(Column::text("notes").chars(0..=5000))
            .column(Column::choice("status", &["queued", "running", "succeeded", "failed"]).default("queued"))
            .column(Column::timestamp("finished_at"))
            .read(VIEWER)
            .write(MEMBER),
        Resource::of_tenant("tools")
            .describe("Tools that agents may call.")
            .column(slug("name"))
            .column(description())
            .column(Column::json("input_schema", Shape::Object).default(json!({"type": "object"})))
            .column(Column::boolean("enabled").default(true))
            .read(VIEWER)
            .write(ADMIN),
        Resource::of_tenant("agent_commands")
            .describe("Short commands for agents.")
            .column(slug("name"))
            .column(description())
            .column(Column::text("template").chars(1..=20_000).required())
            .column(Column::json("parameters", Shape::Array).default(json!([])))
            .read(VIEWER)
            .write(MEMBER),
    ]
}

fn settings() -> Vec<Resource> {
    vec![
        Resource::of_tenant("themes")
            .describe("Colours and fonts of the pages.")
            .column(slug("slug"))
            .column(name())
            .column(Column::json("tokens", Shape::Object).required())
            .read(VIEWER)
            .write(ADMIN),
        Resource::of_tenant("configurations")
            .describe("Settings by name.")
            .column(Column::text("key").chars(1..=200).required().immutable().sortable())
            .column(Column::json("value", Shape::Any).required())
            .read(MEMBER)
            .write(ADMIN),
    ]
}

fn knowledge() -> Vec<Resource> {
    vec![
        Resource::of_tenant("prompts")
            .describe("Reusable prompts.")
            .column(Column::text("title").chars(1..=200).required().sortable())
            .column(Column::text("body").chars(1..=50_000).required())
            .column(tags())
            .search("prompts_fts")
            .read(VIEWER)
            .write(MEMBER),
        Resource::of_tenant("knowledge_articles")
            .describe("Articles of the tenant's knowledge base.")
            .column(Column::text("title").chars(1..=200).required().sortable())
            .column(Column::text("body").chars(1..=200_000).required())
            .column(Column::choice("status", &["draft", "published"]).default("draft"))
            .column(tags())
            .search("knowledge_articles_fts")
            .read(VIEWER)
            .write(MEMBER),
        Resource::of_tenant("chat_messages")
            .describe("Messages to and from agents; each user sees their own.")
            .column(Column::text("room").chars(1..=128).required().immutable())
            .column(Column::choice("role", &["user", "assistant", "system"]).default("user").immutable())
            .column(Column::text("text").chars(1..=50_000).required())
            .owned_by("user_id", Role::Owner)
            .read(VIEWER)
            .write(VIEWER),
    ]
}

fn support() -> Vec<Resource> {
    vec![
        Resource::of_tenant("support_tickets")
            .describe("Requests for help.")
            .column(Column::text("subject").chars(1..=200).required().sortable())
            .column(Column::text("body").chars(0..=20_000).default(""))
            .column(Column::choice("status", &["open", "pending", "closed"]).default("open"))
            .column(Column::integer("priority").range(1..=5).default(3).sortable())
            .search("support_tickets_fts")
            .read(VIEWER)
            .create(VIEWER)
            .update(MEMBER)
            .delete(ADMIN),
        Resource::of_tenant("customer_feedback")
            .describe("Feedback of customers.")
            .column(Column::integer("rating").range(1..=5))
            .column(Column::text("text").chars(1..=10_000).required())
            .column(Column::text("page").chars(0..=500))
            .column(Column::choice("status", &["new", "seen", "done"]).default("new"))
            .read(VIEWER)
            .create(VIEWER)
            .update(MEMBER)
            .delete(ADMIN),
    ]
}
