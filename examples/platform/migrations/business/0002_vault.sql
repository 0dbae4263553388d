-- Keys that values are sealed under, wrapped by a key-encryption key that the database never sees.
CREATE TABLE vault_keys (
    id INTEGER PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('data', 'index')),
    wrapped_by TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
-- There is one index key: two would index equal values differently.
CREATE UNIQUE INDEX vault_keys_index ON vault_keys (purpose) WHERE purpose = 'index';
-- The columns that hold sealed values, for the sweep after a rotation.
CREATE TABLE vault_columns (
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    key_column TEXT NOT NULL DEFAULT 'id',
    PRIMARY KEY (table_name, column_name)
) WITHOUT ROWID;
