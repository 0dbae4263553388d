-- Prompts to use again.
CREATE TABLE prompts (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    title TEXT NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    body TEXT NOT NULL CHECK (length(body) BETWEEN 1 AND 50000),
    tags TEXT NOT NULL CHECK (json_valid(tags)),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX prompts_tenant ON prompts (tenant_id, id);
CREATE VIRTUAL TABLE prompts_fts USING fts5(title, body, content='prompts', content_rowid='row');
CREATE TRIGGER prompts_fts_insert AFTER INSERT ON prompts BEGIN
    INSERT INTO prompts_fts (rowid, title, body) VALUES (new.row, new.title, new.body);
END;
CREATE TRIGGER prompts_fts_delete AFTER DELETE ON prompts BEGIN
    INSERT INTO prompts_fts (prompts_fts, rowid, title, body) VALUES ('delete', old.row, old.title, old.body);
END;
CREATE TRIGGER prompts_fts_update AFTER UPDATE OF title, body ON prompts BEGIN
    INSERT INTO prompts_fts (prompts_fts, rowid, title, body) VALUES ('delete', old.row, old.title, old.body);
    INSERT INTO prompts_fts (rowid, title, body) VALUES (new.row, new.title, new.body);
END;

-- What the tenant knows.
CREATE TABLE knowledge_articles (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    title TEXT NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    body TEXT NOT NULL CHECK (length(body) BETWEEN 1 AND 200000),
    status TEXT NOT NULL CHECK (status IN ('draft', 'published')),
    tags TEXT NOT NULL CHECK (json_valid(tags)),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX knowledge_articles_tenant ON knowledge_articles (tenant_id, id);
CREATE INDEX knowledge_articles_status ON knowledge_articles (tenant_id, status, id);
CREATE VIRTUAL TABLE knowledge_articles_fts USING fts5(title, body, content='knowledge_articles', content_rowid='row');
CREATE TRIGGER knowledge_articles_fts_insert AFTER INSERT ON knowledge_articles BEGIN
    INSERT INTO knowledge_articles_fts (rowid, title, body) VALUES (new.row, new.title, new.body);
END;
CREATE TRIGGER knowledge_articles_fts_delete AFTER DELETE ON knowledge_articles BEGIN
    INSERT INTO knowledge_articles_fts (knowledge_articles_fts, rowid, title, body) VALUES ('delete', old.row, old.title, old.body);
END;
CREATE TRIGGER knowledge_articles_fts_update AFTER UPDATE OF title, body ON knowledge_articles BEGIN
    INSERT INTO knowledge_articles_fts (knowledge_articles_fts, rowid, title, body) VALUES ('delete', old.row, old.title, old.body);
    INSERT INTO knowledge_articles_fts (rowid, title, body) VALUES (new.row, new.title, new.body);
END;

-- What was said to agents and by them.
CREATE TABLE chat_messages (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    room TEXT NOT NULL CHECK (length(room) BETWEEN 1 AND 128),
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'system')),
    text TEXT NOT NULL CHECK (length(text) BETWEEN 1 AND 50000),
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX chat_messages_tenant ON chat_messages (tenant_id, id);
CREATE INDEX chat_messages_room ON chat_messages (tenant_id, room, id);
