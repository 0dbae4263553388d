-- Secrets of a tenant for services elsewhere: sealed.
CREATE TABLE credentials (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('password', 'token', 'key', 'other')),
    secret BYTEA NOT NULL,
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX credentials_tenant ON credentials (tenant_id, id);

-- Services elsewhere that a tenant uses.
CREATE TABLE external_connections (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('api', 'database', 'storage', 'webhook', 'other')),
    url TEXT COLLATE "C",
    credential_id TEXT COLLATE "C" REFERENCES credentials (id),
    settings TEXT COLLATE "C" NOT NULL CHECK (CAST(settings AS JSON) IS NOT NULL),
    status TEXT COLLATE "C" NOT NULL CHECK (status IN ('active', 'paused', 'failed')),
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX external_connections_tenant ON external_connections (tenant_id, id);
CREATE INDEX external_connections_status ON external_connections (tenant_id, status, id);

INSERT INTO vault_columns (table_name, column_name) VALUES ('credentials', 'secret');
