-- An account that is disabled loses its sessions, keys, links and invitations, however it is disabled: once it is enabled again, its
-- user signs in again.
-- An invitation names its inviter in its data; the data of links is no JSON.
CREATE FUNCTION inviter_of(data TEXT) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CAST(data AS JSON) ->> 'by';
EXCEPTION WHEN invalid_text_representation THEN
    RETURN NULL;
END $$;
CREATE FUNCTION users_disabled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO revocations (user_id) VALUES (OLD.id);
    DELETE FROM sessions WHERE user_id = OLD.id;
    UPDATE api_keys SET revoked_at = to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    WHERE user_id = OLD.id AND revoked_at IS NULL;
    DELETE FROM one_time_tokens WHERE user_id = OLD.id OR tenant_id IS NOT NULL AND inviter_of(data) = OLD.id;
    RETURN NULL;
END $$;
DROP TRIGGER users_disabled ON users;
CREATE TRIGGER users_disabled AFTER UPDATE OF disabled ON users
FOR EACH ROW WHEN (NEW.disabled <> 0 AND OLD.disabled = 0) EXECUTE FUNCTION users_disabled();
-- Accounts that are disabled already.
DELETE FROM sessions WHERE user_id IN (SELECT id FROM users WHERE disabled <> 0);
UPDATE api_keys SET revoked_at = to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
WHERE user_id IN (SELECT id FROM users WHERE disabled <> 0) AND revoked_at IS NULL;
DELETE FROM one_time_tokens WHERE user_id IN (SELECT id FROM users WHERE disabled <> 0)
    OR tenant_id IS NOT NULL AND inviter_of(data) IN (SELECT id FROM users WHERE disabled <> 0);
