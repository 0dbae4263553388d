-- Links are signed over it: adding to it ends all links of the image.
ALTER TABLE images ADD COLUMN link_epoch BIGINT NOT NULL DEFAULT 0;
-- Upload-Metadata, as the client has sent it.
ALTER TABLE images ADD COLUMN upload_metadata TEXT COLLATE "C";
ALTER TABLE uploads ADD COLUMN metadata TEXT COLLATE "C";
-- Bytes and number of a tenant's images: kept by triggers, so that a quota costs no sum.
CREATE TABLE media_usage (
    tenant_id TEXT COLLATE "C" PRIMARY KEY,
    bytes BIGINT NOT NULL,
    images BIGINT NOT NULL
);
INSERT INTO media_usage (tenant_id, bytes, images) SELECT tenant_id, sum(size), count(*) FROM images GROUP BY tenant_id;
CREATE FUNCTION images_made_private() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE images SET link_epoch = link_epoch + 1 WHERE id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER images_made_private AFTER UPDATE OF visibility ON images
FOR EACH ROW WHEN (OLD.visibility = 'public' AND NEW.visibility = 'private') EXECUTE FUNCTION images_made_private();
CREATE FUNCTION images_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_usage (tenant_id, bytes, images) VALUES (NEW.tenant_id, NEW.size, 1)
    ON CONFLICT (tenant_id) DO UPDATE SET bytes = media_usage.bytes + excluded.bytes, images = media_usage.images + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER images_added AFTER INSERT ON images
FOR EACH ROW EXECUTE FUNCTION images_added();
CREATE FUNCTION images_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE media_usage SET bytes = bytes - OLD.size, images = images - 1 WHERE tenant_id = OLD.tenant_id;
    RETURN NULL;
END $$;
CREATE TRIGGER images_removed AFTER DELETE ON images
FOR EACH ROW EXECUTE FUNCTION images_removed();
