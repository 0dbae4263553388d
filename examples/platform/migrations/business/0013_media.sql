-- Links are signed over it: adding to it ends all links of the image.
ALTER TABLE images ADD COLUMN link_epoch INTEGER NOT NULL DEFAULT 0;
-- Upload-Metadata, as the client has sent it.
ALTER TABLE images ADD COLUMN upload_metadata TEXT;
ALTER TABLE uploads ADD COLUMN metadata TEXT;
CREATE TRIGGER images_made_private AFTER UPDATE OF visibility ON images
WHEN old.visibility = 'public' AND new.visibility = 'private'
BEGIN
    UPDATE images SET link_epoch = link_epoch + 1 WHERE id = new.id;
END;
-- Bytes and number of a tenant's images: kept by triggers, so that a quota costs no sum.
CREATE TABLE media_usage (
    tenant_id TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    images INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO media_usage (tenant_id, bytes, images) SELECT tenant_id, sum(size), count(*) FROM images GROUP BY tenant_id;
CREATE TRIGGER images_added AFTER INSERT ON images
BEGIN
    INSERT INTO media_usage (tenant_id, bytes, images) VALUES (new.tenant_id, new.size, 1)
    ON CONFLICT (tenant_id) DO UPDATE SET bytes = bytes + excluded.bytes, images = images + 1;
END;
CREATE TRIGGER images_removed AFTER DELETE ON images
BEGIN
    UPDATE media_usage SET bytes = bytes - old.size, images = images - 1 WHERE tenant_id = old.tenant_id;
END;
