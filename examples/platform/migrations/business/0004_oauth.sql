-- Sign-ins at providers that are under way: known by hashes alone, and bound to one browser.
CREATE TABLE oauth_flows (
    state_hash BLOB PRIMARY KEY,
    browser_hash BLOB NOT NULL,
    provider TEXT NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    tenant_id TEXT REFERENCES tenants (id) ON DELETE CASCADE,
    return_to TEXT NOT NULL,
    expires_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX oauth_flows_expires_at ON oauth_flows (expires_at);
-- Accounts elsewhere that users have connected.
CREATE TABLE oauth_connections (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider TEXT NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    subject TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    label TEXT NOT NULL,
    scopes TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'expired')),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (tenant_id, provider, subject)
);
CREATE INDEX oauth_connections_tenant ON oauth_connections (tenant_id, id);
CREATE INDEX oauth_connections_subject ON oauth_connections (provider, subject);
-- What the connections are used with: sealed.
CREATE TABLE oauth_tokens (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    connection_id TEXT NOT NULL UNIQUE REFERENCES oauth_connections (id) ON DELETE CASCADE,
    access_token BLOB NOT NULL,
    refresh_token BLOB,
    expires_at TEXT,
    refreshing_until TEXT NOT NULL DEFAULT '',
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX oauth_tokens_tenant ON oauth_tokens (tenant_id, id);
INSERT INTO vault_columns (table_name, column_name) VALUES
    ('oauth_tokens', 'access_token'),
    ('oauth_tokens', 'refresh_token');
