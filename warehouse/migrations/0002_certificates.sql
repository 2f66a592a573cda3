-- Certificates: what was tried against a task, and the document that its bundle carries.

CREATE TABLE certificates (
    certificate_id VARCHAR NOT NULL,
    task_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    bundle VARCHAR NOT NULL,
    environment_id VARCHAR NOT NULL,
    image_digest VARCHAR NOT NULL,
    catalogue VARCHAR NOT NULL,
    cheats BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    inverted BIGINT NOT NULL,
    seconds DOUBLE NOT NULL,
    validation_seconds DOUBLE NOT NULL,
    document JSON NOT NULL USING COMPRESSION zstd,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (certificate_id)
);
