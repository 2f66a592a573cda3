-- Trajectories: attempts of agents at tasks, with their rewards.

CREATE TABLE trajectories (
    trajectory_id VARCHAR NOT NULL,
    task_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    sample BIGINT NOT NULL,
    agent VARCHAR NOT NULL,
    context VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    ending VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL,
    reward DOUBLE,
    reason VARCHAR NOT NULL,
    turns BIGINT NOT NULL,
    tokens_read BIGINT NOT NULL,
    tokens_written BIGINT NOT NULL,
    cost_usd DOUBLE NOT NULL,
    seconds DOUBLE NOT NULL,
    patch VARCHAR NOT NULL USING COMPRESSION zstd,
    trajectory JSON NOT NULL USING COMPRESSION zstd,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (trajectory_id)
);
