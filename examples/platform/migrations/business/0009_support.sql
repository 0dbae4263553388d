-- What somebody needs help with.
CREATE TABLE support_tickets (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    subject TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
    body TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'pending', 'closed')),
    priority INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 5),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX support_tickets_tenant ON support_tickets (tenant_id, id);
CREATE INDEX support_tickets_status ON support_tickets (tenant_id, status, id);
CREATE INDEX support_tickets_priority ON support_tickets (tenant_id, priority, id);
CREATE VIRTUAL TABLE support_tickets_fts USING fts5(subject, body, content='support_tickets', content_rowid='row');
CREATE TRIGGER support_tickets_fts_insert AFTER INSERT ON support_tickets BEGIN
    INSERT INTO support_tickets_fts (rowid, subject, body) VALUES (new.row, new.subject, new.body);
END;
CREATE TRIGGER support_tickets_fts_delete AFTER DELETE ON support_tickets BEGIN
    INSERT INTO support_tickets_fts (support_tickets_fts, rowid, subject, body) VALUES ('delete', old.row, old.subject, old.body);
END;
CREATE TRIGGER support_tickets_fts_update AFTER UPDATE OF subject, body ON support_tickets BEGIN
    INSERT INTO support_tickets_fts (support_tickets_fts, rowid, subject, body) VALUES ('delete', old.row, old.subject, old.body);
    INSERT INTO support_tickets_fts (rowid, subject, body) VALUES (new.row, new.subject, new.body);
END;

-- What customers say.
CREATE TABLE customer_feedback (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    rating INTEGER CHECK (rating BETWEEN 1 AND 5),
    text TEXT NOT NULL CHECK (length(text) BETWEEN 1 AND 10000),
    page TEXT,
    status TEXT NOT NULL CHECK (status IN ('new', 'seen', 'done')),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX customer_feedback_tenant ON customer_feedback (tenant_id, id);
CREATE INDEX customer_feedback_status ON customer_feedback (tenant_id, status, id);
