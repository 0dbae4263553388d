-- Secrets of a tenant for services elsewhere: sealed.
CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind TEXT NOT NULL CHECK (kind IN ('password', 'token', 'key', 'other')),
    secret BLOB NOT NULL,
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX credentials_tenant ON credentials (tenant_id, id);

-- Services elsewhere that a tenant uses.
CREATE TABLE external_connections (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind TEXT NOT NULL CHECK (kind IN ('api', 'database', 'storage', 'webhook', 'other')),
    url TEXT,
    credential_id TEXT REFERENCES credentials (id),
    settings TEXT NOT NULL CHECK (json_valid(settings)),
    status TEXT NOT NULL CHECK (status IN ('active', 'paused', 'failed')),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX external_connections_tenant ON external_connections (tenant_id, id);
CREATE INDEX external_connections_status ON external_connections (tenant_id, status, id);

INSERT INTO vault_columns (table_name, column_name) VALUES ('credentials', 'secret');
