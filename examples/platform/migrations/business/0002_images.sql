-- What is known of an object under media/ in the bucket.
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    tenant_id INTEGER REFERENCES tenants (id) ON DELETE SET NULL,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    etag TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX images_created ON images (created_at, id);
