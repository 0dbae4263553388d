-- Steps that are done one after another.
CREATE TABLE workflows (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    description TEXT COLLATE "C",
    definition TEXT COLLATE "C" NOT NULL CHECK (CAST(definition AS JSON) IS NOT NULL),
    status TEXT COLLATE "C" NOT NULL CHECK (status IN ('draft', 'active', 'paused')),
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX workflows_tenant ON workflows (tenant_id, id);
CREATE INDEX workflows_status ON workflows (tenant_id, status, id);

-- Programs that a tenant deploys.
CREATE TABLE workers (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    description TEXT COLLATE "C",
    settings TEXT COLLATE "C" NOT NULL CHECK (CAST(settings AS JSON) IS NOT NULL),
    status TEXT COLLATE "C" NOT NULL CHECK (status IN ('active', 'disabled')),
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX workers_tenant ON workers (tenant_id, id);

-- Versions of workers that were put into use.
CREATE TABLE deployments (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    worker_id TEXT COLLATE "C" NOT NULL REFERENCES workers (id) ON DELETE CASCADE,
    version TEXT COLLATE "C" NOT NULL CHECK (length(version) BETWEEN 1 AND 64),
    notes TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
    finished_at TEXT COLLATE "C",
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (worker_id, version)
);
CREATE INDEX deployments_tenant ON deployments (tenant_id, id);
CREATE INDEX deployments_worker_id ON deployments (tenant_id, worker_id, id);
CREATE INDEX deployments_status ON deployments (tenant_id, status, id);

-- What agents may call.
CREATE TABLE tools (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    description TEXT COLLATE "C",
    input_schema TEXT COLLATE "C" NOT NULL CHECK (CAST(input_schema AS JSON) IS NOT NULL),
    enabled BIGINT NOT NULL CHECK (enabled IN (0, 1)),
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX tools_tenant ON tools (tenant_id, id);

-- What agents may be told in a word.
CREATE TABLE agent_commands (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    description TEXT COLLATE "C",
    template TEXT COLLATE "C" NOT NULL CHECK (length(template) BETWEEN 1 AND 20000),
    parameters TEXT COLLATE "C" NOT NULL CHECK (CAST(parameters AS JSON) IS NOT NULL),
    revision BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX agent_commands_tenant ON agent_commands (tenant_id, id);
