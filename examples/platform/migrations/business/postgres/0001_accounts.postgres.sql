-- Who there is, what they are where, and how they show it.
CREATE TABLE tenants (
    id TEXT COLLATE "C" PRIMARY KEY,
    slug TEXT COLLATE "C" NOT NULL UNIQUE CHECK (length(slug) BETWEEN 1 AND 64),
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    revision BIGINT NOT NULL DEFAULT 1,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL
);
CREATE TABLE users (
    id TEXT COLLATE "C" PRIMARY KEY,
    email TEXT COLLATE "C" NOT NULL UNIQUE CHECK (email = lower(email)),
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    password_hash TEXT COLLATE "C",
    disabled BIGINT NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    revision BIGINT NOT NULL DEFAULT 1,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL
);
CREATE TABLE memberships (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT COLLATE "C" NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    revision BIGINT NOT NULL DEFAULT 1,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    UNIQUE (tenant_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id, tenant_id);
-- A tenant keeps an owner.
CREATE FUNCTION memberships_last_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.role = 'owner' AND (TG_OP = 'DELETE' OR NEW.role <> 'owner')
        AND (TG_OP = 'UPDATE' OR EXISTS (SELECT 1 FROM tenants WHERE id = OLD.tenant_id))
        AND (SELECT count(*) FROM memberships WHERE tenant_id = OLD.tenant_id AND role = 'owner') = 1 THEN
        RAISE EXCEPTION 'a tenant keeps an owner' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER memberships_last_owner_changed BEFORE UPDATE OF role ON memberships
FOR EACH ROW EXECUTE FUNCTION memberships_last_owner();
CREATE TRIGGER memberships_last_owner_deleted BEFORE DELETE ON memberships
FOR EACH ROW EXECUTE FUNCTION memberships_last_owner();
-- The cookie's token is not here, only its hash; the one before it is good for a moment after a rotation.
CREATE TABLE sessions (
    id TEXT COLLATE "C" PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    token_hash BYTEA NOT NULL UNIQUE,
    previous_hash BYTEA,
    rotated_at TEXT COLLATE "C" NOT NULL,
    expires_at TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX sessions_previous_hash ON sessions (previous_hash) WHERE previous_hash IS NOT NULL;
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
-- The prefix is seen, the secret is known by its hash alone.
CREATE TABLE api_keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    prefix TEXT COLLATE "C" NOT NULL UNIQUE,
    secret_hash BYTEA NOT NULL,
    role TEXT COLLATE "C" NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    scopes TEXT COLLATE "C" NOT NULL CHECK (CAST(scopes AS JSON) IS NOT NULL),
    expires_at TEXT COLLATE "C",
    last_used_at TEXT COLLATE "C",
    revoked_at TEXT COLLATE "C",
    created_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX api_keys_user ON api_keys (tenant_id, user_id, id);
-- Links that are good once.
CREATE TABLE one_time_tokens (
    hash BYTEA PRIMARY KEY,
    purpose TEXT COLLATE "C" NOT NULL,
    expires_at TEXT COLLATE "C" NOT NULL,
    data TEXT COLLATE "C"
);
-- Tries within a window, by what they are counted for.
CREATE TABLE auth_attempts (
    key TEXT COLLATE "C" PRIMARY KEY,
    count BIGINT NOT NULL,
    window_ends_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX auth_attempts_window ON auth_attempts (window_ends_at);
