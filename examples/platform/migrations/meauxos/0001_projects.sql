-- The legacy database, as far as the platform still reads it.
CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0 CHECK (archived IN (0, 1))
);
INSERT INTO projects (title, archived) VALUES ('MeauxOS desktop', 1), ('Inner Animal gallery', 0);
