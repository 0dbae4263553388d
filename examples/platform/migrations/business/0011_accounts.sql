-- The tenant of whoever has redeemed the set-up token: the operator's. One row at most. It is not deleted while it is that.
CREATE TABLE operator (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    redeemed_at TEXT NOT NULL
);
ALTER TABLE users ADD COLUMN email_verified_at TEXT;
-- When the session's user last entered a password or came from a provider.
ALTER TABLE sessions ADD COLUMN authenticated_at TEXT NOT NULL DEFAULT '';
-- Keys from before every key had an end.
UPDATE api_keys SET expires_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 year') WHERE expires_at IS NULL;
-- The user whom a link is for, or the tenant.
ALTER TABLE one_time_tokens ADD COLUMN user_id TEXT REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE one_time_tokens ADD COLUMN tenant_id TEXT REFERENCES tenants (id) ON DELETE CASCADE;
CREATE INDEX one_time_tokens_user ON one_time_tokens (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX one_time_tokens_tenant ON one_time_tokens (tenant_id, purpose) WHERE tenant_id IS NOT NULL;
CREATE INDEX one_time_tokens_expires_at ON one_time_tokens (expires_at);
-- Browsers from which a user has signed in: tries of others do not lock them out.
CREATE TABLE known_devices (
    hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX known_devices_user ON known_devices (user_id, expires_at);
CREATE INDEX known_devices_expires_at ON known_devices (expires_at);
-- Access that has ended and whose open connections have not been closed yet: written in the transaction that ends it, however
-- it is ended.
CREATE TABLE revocations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    tenant_id TEXT,
    session_id TEXT
);
CREATE TRIGGER memberships_ended AFTER DELETE ON memberships
BEGIN
    INSERT INTO revocations (user_id, tenant_id) VALUES (old.user_id, old.tenant_id);
END;
CREATE TRIGGER memberships_changed AFTER UPDATE OF role ON memberships WHEN new.role <> old.role
BEGIN
    INSERT INTO revocations (user_id, tenant_id) VALUES (old.user_id, old.tenant_id);
END;
CREATE TRIGGER users_disabled AFTER UPDATE OF disabled ON users WHEN new.disabled <> 0 AND old.disabled = 0
BEGIN
    INSERT INTO revocations (user_id) VALUES (old.id);
END;
CREATE TRIGGER users_deleted AFTER DELETE ON users
BEGIN
    INSERT INTO revocations (user_id) VALUES (old.id);
END;
CREATE TRIGGER sessions_ended AFTER DELETE ON sessions
BEGIN
    INSERT INTO revocations (user_id, tenant_id, session_id) VALUES (old.user_id, old.tenant_id, old.id);
END;
CREATE TRIGGER api_keys_revoked AFTER UPDATE OF revoked_at ON api_keys
WHEN new.revoked_at IS NOT NULL AND old.revoked_at IS NULL
BEGIN
    INSERT INTO revocations (user_id, tenant_id) VALUES (old.user_id, old.tenant_id);
END;
