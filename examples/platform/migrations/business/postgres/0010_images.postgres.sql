-- What is known of the objects under images/ and media/ in the bucket. A row here has its object, whole.
CREATE TABLE images (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    key TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('image', 'video', 'model')),
    content_type TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL CHECK (size >= 0),
    etag TEXT COLLATE "C" NOT NULL,
    sha256 TEXT COLLATE "C" NOT NULL CHECK (length(sha256) = 64),
    width BIGINT,
    height BIGINT,
    visibility TEXT COLLATE "C" NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public')),
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX images_tenant ON images (tenant_id, id);
CREATE INDEX images_kind ON images (tenant_id, kind, id);
-- Objects that come or go. Whatever is in the bucket without a row in images has one here, so a sweep finds it.
CREATE TABLE uploads (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    user_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('coming', 'going', 'kept')),
    size BIGINT,
    received BIGINT NOT NULL DEFAULT 0,
    multipart TEXT COLLATE "C",
    parts TEXT COLLATE "C" NOT NULL DEFAULT '[]' CHECK (CAST(parts AS JSON) IS NOT NULL),
    hash BYTEA,
    head BYTEA,
    lock TEXT COLLATE "C" NOT NULL DEFAULT '',
    locked_until TEXT COLLATE "C" NOT NULL DEFAULT '',
    expires_at TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX uploads_expires_at ON uploads (expires_at);
CREATE INDEX uploads_user ON uploads (tenant_id, user_id);
