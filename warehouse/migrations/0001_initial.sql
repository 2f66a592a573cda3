-- The tables of every record, as of the first release. A released migration never changes; the next one adds.
-- Text that is long and rarely scanned is stored with zstd; what people filter on keeps DuckDB's own choice.

CREATE TABLE sources (
    source_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    url VARCHAR NOT NULL,
    revision VARCHAR NOT NULL,
    license VARCHAR NOT NULL,
    attribution VARCHAR NOT NULL,
    raw JSON NOT NULL USING COMPRESSION zstd,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (source_id)
);

CREATE TABLE candidates (
    candidate_id VARCHAR NOT NULL,
    source_id VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    repo VARCHAR NOT NULL,
    base_ref VARCHAR NOT NULL,
    gold_ref VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    source_date TIMESTAMPTZ NOT NULL,
    verdict VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    detail JSON NOT NULL USING COMPRESSION zstd,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (candidate_id)
);

CREATE TABLE environments (
    environment_id VARCHAR NOT NULL,
    language VARCHAR NOT NULL,
    recipe JSON NOT NULL USING COMPRESSION zstd,
    manifest VARCHAR[] NOT NULL,
    dockerfile VARCHAR NOT NULL USING COMPRESSION zstd,
    image_digest VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    build_seconds DOUBLE NOT NULL,
    build_log VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (environment_id)
);

CREATE TABLE tasks (
    task_id VARCHAR NOT NULL,
    candidate_id VARCHAR NOT NULL,
    environment_id VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    parent VARCHAR NOT NULL,
    repo VARCHAR NOT NULL,
    language VARCHAR NOT NULL,
    license VARCHAR NOT NULL,
    attribution VARCHAR NOT NULL,
    source_date TIMESTAMPTZ NOT NULL,
    instruction VARCHAR NOT NULL USING COMPRESSION zstd,
    verifier JSON NOT NULL,
    gold_patch VARCHAR NOT NULL USING COMPRESSION zstd,
    test_patch VARCHAR NOT NULL USING COMPRESSION zstd,
    fail_to_pass VARCHAR[] NOT NULL,
    pass_to_pass VARCHAR[] NOT NULL,
    new_tests VARCHAR[] NOT NULL,
    quarantined VARCHAR[] NOT NULL,
    statement_check VARCHAR NOT NULL,
    bundle VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (task_id)
);

CREATE TABLE task_events (
    task_id VARCHAR NOT NULL,
    event VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (task_id, event, value, run_id)
);

CREATE TABLE test_outcomes (
    task_id VARCHAR NOT NULL,
    test_id VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    run BIGINT NOT NULL,
    conditions VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (task_id, test_id, state, run_id, run)
);

CREATE TABLE validations (
    task_id VARCHAR NOT NULL,
    control VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    run BIGINT NOT NULL,
    verdict VARCHAR NOT NULL,
    reward DOUBLE,
    expected DOUBLE NOT NULL,
    passed BOOLEAN NOT NULL,
    checks JSON NOT NULL USING COMPRESSION zstd,
    image_digest VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (task_id, control, run_id, run)
);

CREATE TABLE flakes (
    task_id VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    runs BIGINT NOT NULL,
    wavered BIGINT NOT NULL,
    upper DOUBLE NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (task_id, state, run_id)
);

CREATE TABLE artifacts (
    sha256 VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (sha256)
);

CREATE TABLE events (
    run_id VARCHAR NOT NULL,
    flow VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    source VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    detail VARCHAR NOT NULL USING COMPRESSION zstd,
    seconds DOUBLE NOT NULL,
    tokens BIGINT NOT NULL,
    cost_usd DOUBLE NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (run_id, stage, item, attempt)
);

CREATE TABLE shards (
    sha256 VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    layout VARCHAR NOT NULL,
    query VARCHAR NOT NULL,
    snapshot VARCHAR NOT NULL,
    rows BIGINT NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (sha256)
);

CREATE TABLE training_runs (
    training_run_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    step BIGINT NOT NULL,
    loss DOUBLE,
    metrics JSON NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (training_run_id, step)
);

-- The outbox units this warehouse holds; written in the transaction that loads them.
CREATE TABLE loaded_files (
    unit VARCHAR NOT NULL,
    loaded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (unit)
);

-- Where each task stands: derived from tasks and task_events by the loader (warehouse/task_state.py), in the
-- transaction that brings either, so that browsing a million tasks joins nothing.
CREATE TABLE task_state (
    task_id VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    repo VARCHAR NOT NULL,
    language VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    difficulty VARCHAR,
    license VARCHAR NOT NULL,
    split VARCHAR,
    reason VARCHAR NOT NULL,
    statement_check VARCHAR NOT NULL,
    fail_to_pass BIGINT NOT NULL,
    pass_to_pass BIGINT NOT NULL,
    new_tests BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    source_date TIMESTAMPTZ NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    status_at TIMESTAMPTZ NOT NULL,
    run_id VARCHAR NOT NULL,
    candidate_id VARCHAR NOT NULL,
    environment_id VARCHAR NOT NULL,
    parent VARCHAR NOT NULL,
    bundle VARCHAR NOT NULL,
    PRIMARY KEY (task_id)
);
