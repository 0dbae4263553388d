-- Colours and types of the pages.
CREATE TABLE themes (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    slug TEXT COLLATE "C" NOT NULL CHECK (length(slug) BETWEEN 1 AND 64),
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    tokens TEXT COLLATE "C" NOT NULL CHECK (CAST(tokens AS JSON) IS NOT NULL),
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant_id, slug)
);
CREATE INDEX themes_tenant ON themes (tenant_id, id);

-- Settings by their names.
CREATE TABLE configurations (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    key TEXT COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    value TEXT COLLATE "C" NOT NULL CHECK (CAST(value AS JSON) IS NOT NULL),
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant_id, key)
);
CREATE INDEX configurations_tenant ON configurations (tenant_id, id);
