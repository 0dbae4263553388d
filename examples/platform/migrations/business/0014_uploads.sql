-- Bytes that an unfinished upload has of its tenant's quota: those that are stored, and those that were announced.
ALTER TABLE uploads ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0;
UPDATE uploads SET reserved = max(coalesce(size, 0), received) WHERE state = 'coming';
