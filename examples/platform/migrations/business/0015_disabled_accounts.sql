-- An account that is disabled loses its sessions, keys, links and invitations, however it is disabled: once it is enabled again, its
-- user signs in again.
DROP TRIGGER users_disabled;
CREATE TRIGGER users_disabled AFTER UPDATE OF disabled ON users WHEN new.disabled <> 0 AND old.disabled = 0
BEGIN
    INSERT INTO revocations (user_id) VALUES (old.id);
    DELETE FROM sessions WHERE user_id = old.id;
    UPDATE api_keys SET revoked_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE user_id = old.id AND revoked_at IS NULL;
    -- An invitation names its inviter in its data; the data of links is no JSON.
    DELETE FROM one_time_tokens WHERE user_id = old.id
        OR tenant_id IS NOT NULL AND CASE WHEN json_valid(data) THEN json_extract(data, '$.by') END = old.id;
END;
-- Accounts that are disabled already.
DELETE FROM sessions WHERE user_id IN (SELECT id FROM users WHERE disabled <> 0);
UPDATE api_keys SET revoked_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE user_id IN (SELECT id FROM users WHERE disabled <> 0) AND revoked_at IS NULL;
DELETE FROM one_time_tokens WHERE user_id IN (SELECT id FROM users WHERE disabled <> 0)
    OR tenant_id IS NOT NULL
    AND CASE WHEN json_valid(data) THEN json_extract(data, '$.by') END IN (SELECT id FROM users WHERE disabled <> 0);
