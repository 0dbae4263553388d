-- The legacy database: numbers for ids, seconds for times, everything in one tenant's words.
CREATE TABLE tenants (
    id INTEGER PRIMARY KEY,
    short_name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    created INTEGER NOT NULL DEFAULT (unixepoch())
);
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL REFERENCES tenants (id),
    mail TEXT NOT NULL,
    full_name TEXT,
    is_admin INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL DEFAULT (unixepoch())
);
CREATE INDEX users_tenant ON users (tenant);
CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    tenant INTEGER REFERENCES tenants (id),
    title TEXT NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0 CHECK (archived IN (0, 1))
);
CREATE INDEX projects_tenant ON projects (tenant);
CREATE TABLE chat (
    id INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL REFERENCES tenants (id),
    user INTEGER NOT NULL REFERENCES users (id),
    channel TEXT NOT NULL,
    body TEXT,
    sent INTEGER NOT NULL
);
CREATE INDEX chat_channel ON chat (channel, id);
INSERT INTO projects (title, archived) VALUES ('MeauxOS desktop', 1), ('Inner Animal gallery', 0);
