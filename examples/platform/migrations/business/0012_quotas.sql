ALTER TABLE idempotency_keys ADD COLUMN tenant_id TEXT NOT NULL DEFAULT '';
ALTER TABLE idempotency_keys ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX idempotency_keys_tenant ON idempotency_keys (tenant_id, created_at, bytes);
-- How many rows of a resource a tenant has, kept by whoever creates and deletes them: a limit costs no count.
CREATE TABLE row_counts (
    tenant_id TEXT NOT NULL,
    resource TEXT NOT NULL,
    count INTEGER NOT NULL,
    counted_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, resource)
) WITHOUT ROWID;
