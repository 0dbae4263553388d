-- What is known of the objects under images/ and media/ in the bucket. A row here has its object, whole.
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind TEXT NOT NULL CHECK (kind IN ('image', 'video', 'model')),
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    etag TEXT NOT NULL,
    sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
    width INTEGER,
    height INTEGER,
    visibility TEXT NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public')),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX images_tenant ON images (tenant_id, id);
CREATE INDEX images_kind ON images (tenant_id, kind, id);
-- Objects that come or go. Whatever is in the bucket without a row in images has one here, so a sweep finds it.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    user_id TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('coming', 'going', 'kept')),
    size INTEGER,
    received INTEGER NOT NULL DEFAULT 0,
    multipart TEXT,
    parts TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(parts)),
    hash BLOB,
    head BLOB,
    lock TEXT NOT NULL DEFAULT '',
    locked_until TEXT NOT NULL DEFAULT '',
    expires_at TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX uploads_expires_at ON uploads (expires_at);
CREATE INDEX uploads_user ON uploads (tenant_id, user_id);
