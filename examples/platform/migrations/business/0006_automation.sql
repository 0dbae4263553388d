-- Steps that are done one after another.
CREATE TABLE workflows (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    description TEXT,
    definition TEXT NOT NULL CHECK (json_valid(definition)),
    status TEXT NOT NULL CHECK (status IN ('draft', 'active', 'paused')),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX workflows_tenant ON workflows (tenant_id, id);
CREATE INDEX workflows_status ON workflows (tenant_id, status, id);

-- Programs that a tenant deploys.
CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    description TEXT,
    settings TEXT NOT NULL CHECK (json_valid(settings)),
    status TEXT NOT NULL CHECK (status IN ('active', 'disabled')),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX workers_tenant ON workers (tenant_id, id);

-- Versions of workers that were put into use.
CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    worker_id TEXT NOT NULL REFERENCES workers (id) ON DELETE CASCADE,
    version TEXT NOT NULL CHECK (length(version) BETWEEN 1 AND 64),
    notes TEXT,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
    finished_at TEXT,
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (worker_id, version)
);
CREATE INDEX deployments_tenant ON deployments (tenant_id, id);
CREATE INDEX deployments_worker_id ON deployments (tenant_id, worker_id, id);
CREATE INDEX deployments_status ON deployments (tenant_id, status, id);

-- What agents may call.
CREATE TABLE tools (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    description TEXT,
    input_schema TEXT NOT NULL CHECK (json_valid(input_schema)),
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX tools_tenant ON tools (tenant_id, id);

-- What agents may be told in a word.
CREATE TABLE agent_commands (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    description TEXT,
    template TEXT NOT NULL CHECK (length(template) BETWEEN 1 AND 20000),
    parameters TEXT NOT NULL CHECK (json_valid(parameters)),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX agent_commands_tenant ON agent_commands (tenant_id, id);
