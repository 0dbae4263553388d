-- Who there is, what they are where, and how they show it.
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE CHECK (length(slug) BETWEEN 1 AND 64),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    revision INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL UNIQUE CHECK (email = lower(email)),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    password_hash TEXT,
    disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    revision INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE TABLE memberships (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    revision INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (tenant_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id, tenant_id);
-- A tenant keeps an owner.
CREATE TRIGGER memberships_last_owner_changed BEFORE UPDATE OF role ON memberships
WHEN old.role = 'owner' AND new.role <> 'owner'
    AND (SELECT count(*) FROM memberships WHERE tenant_id = old.tenant_id AND role = 'owner') = 1
BEGIN
    SELECT RAISE(ABORT, 'a tenant keeps an owner');
END;
CREATE TRIGGER memberships_last_owner_deleted BEFORE DELETE ON memberships
WHEN old.role = 'owner' AND EXISTS (SELECT 1 FROM tenants WHERE id = old.tenant_id)
    AND (SELECT count(*) FROM memberships WHERE tenant_id = old.tenant_id AND role = 'owner') = 1
BEGIN
    SELECT RAISE(ABORT, 'a tenant keeps an owner');
END;
-- The cookie's token is not here, only its hash; the one before it is good for a moment after a rotation.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    token_hash BLOB NOT NULL UNIQUE,
    previous_hash BLOB,
    rotated_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX sessions_previous_hash ON sessions (previous_hash) WHERE previous_hash IS NOT NULL;
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
-- The prefix is seen, the secret is known by its hash alone.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    prefix TEXT NOT NULL UNIQUE,
    secret_hash BLOB NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    scopes TEXT NOT NULL CHECK (json_valid(scopes)),
    expires_at TEXT,
    last_used_at TEXT,
    revoked_at TEXT,
    created_at TEXT NOT NULL
);
CREATE INDEX api_keys_user ON api_keys (tenant_id, user_id, id);
-- Links that are good once.
CREATE TABLE one_time_tokens (
    hash BLOB PRIMARY KEY,
    purpose TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    data TEXT
) WITHOUT ROWID;
-- Tries within a window, by what they are counted for.
CREATE TABLE auth_attempts (
    key TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    window_ends_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX auth_attempts_window ON auth_attempts (window_ends_at);
