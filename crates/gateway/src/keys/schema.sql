CREATE TABLE gateway_account (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL
);
-- A token is not stored: the hash verifies it, and the sealed secret, which is made from it, verifies signatures.
CREATE TABLE gateway_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    secret BLOB NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    uses INTEGER NOT NULL DEFAULT 0,
    last_used_at TEXT
);
INSERT INTO vault_columns (table_name, column_name, key_column) VALUES ('gateway_keys', 'secret', 'id');
