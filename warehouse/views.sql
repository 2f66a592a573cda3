-- What people ask of the warehouse. Views hold no data, so this file may change freely: the loader runs it again
-- whenever its text differs from the one it ran last.

-- One row a task. The first eight columns are what every program may rely on; the counts are numbers of tests.
CREATE OR REPLACE VIEW task_overview AS
SELECT
    task_id, family, kind, repo, language, status, difficulty, license,
    split, reason, statement_check, fail_to_pass, pass_to_pass, new_tests, quarantined,
    source_date, recorded_at, status_at, run_id, candidate_id, environment_id, parent, bundle
FROM task_state;

-- The last attempt at every stage of every item of a run. Earlier attempts failed for infrastructure; they cost
-- time (see `cost`) and decide nothing.
CREATE OR REPLACE VIEW last_attempts AS
SELECT
    *,
    coalesce(list_position(['source', 'mine', 'build', 'compose', 'validate', 'certify', 'publish'], stage), 99) AS stage_order
FROM events
QUALIFY row_number() OVER (PARTITION BY run_id, stage, item ORDER BY attempt DESC) = 1;

-- Per run and stage: how many items came in, and what became of them.
CREATE OR REPLACE VIEW funnel AS
WITH reasons AS (
    SELECT run_id, flow, stage, string_agg(format('{} ({})', reason, n), ', ' ORDER BY n DESC, reason) AS reasons
    FROM (
        SELECT run_id, flow, stage, reason, count(*) AS n
        FROM last_attempts WHERE reason <> '' GROUP BY ALL
    ) GROUP BY ALL
)
SELECT
    run_id, flow, stage, items, ok, rejected, failed, coalesce(reasons, '') AS reasons
FROM (
    SELECT
        run_id, flow, stage, stage_order, count(*) AS items,
        count(*) FILTER (outcome = 'ok') AS ok,
        count(*) FILTER (outcome = 'rejected') AS rejected,
        count(*) FILTER (outcome = 'failed') AS failed
    FROM last_attempts GROUP BY ALL
) LEFT JOIN reasons USING (run_id, flow, stage)
ORDER BY flow, run_id, stage_order, stage;

-- An item that several runs took through a stage counts once, as it went last.
CREATE OR REPLACE VIEW last_events AS
SELECT * FROM last_attempts
QUALIFY row_number() OVER (PARTITION BY flow, stage, item ORDER BY recorded_at DESC, run_id DESC) = 1;

-- The funnel of all runs together.
CREATE OR REPLACE VIEW funnel_overall AS
WITH reasons AS (
    SELECT flow, stage, string_agg(format('{} ({})', reason, n), ', ' ORDER BY n DESC, reason) AS reasons
    FROM (SELECT flow, stage, reason, count(*) AS n FROM last_events WHERE reason <> '' GROUP BY ALL)
    GROUP BY ALL
)
SELECT
    flow, stage, items, ok, rejected, failed, coalesce(reasons, '') AS reasons
FROM (
    SELECT
        flow, stage, stage_order, count(*) AS items,
        count(*) FILTER (outcome = 'ok') AS ok,
        count(*) FILTER (outcome = 'rejected') AS rejected,
        count(*) FILTER (outcome = 'failed') AS failed
    FROM last_events GROUP BY ALL
) LEFT JOIN reasons USING (flow, stage)
ORDER BY flow, stage_order, stage;

-- What each source gave: of its candidates, how many went how far, and what ended most of the others.
CREATE OR REPLACE VIEW yield_by_source AS
WITH reasons AS (
    SELECT flow, source, string_agg(format('{} ({})', reason, n), ', ' ORDER BY n DESC, reason) AS top_reasons
    FROM (
        SELECT flow, source, reason, count(*) AS n
        FROM last_events WHERE reason <> '' GROUP BY flow, source, reason
        QUALIFY row_number() OVER (PARTITION BY flow, source ORDER BY n DESC, reason) <= 3
    ) GROUP BY ALL
)
SELECT
    flow, source, candidates, accepted, built, composed, validated, certified, published, failed,
    CASE WHEN candidates > 0 THEN validated / candidates ELSE 0 END AS yield,
    coalesce(top_reasons, '') AS top_reasons
FROM (
    SELECT
        flow, source,
        count(*) FILTER (stage = 'mine' AND outcome <> 'failed') AS candidates,
        count(*) FILTER (stage = 'mine' AND outcome = 'ok') AS accepted,
        count(*) FILTER (stage = 'build' AND outcome = 'ok') AS built,
        count(*) FILTER (stage = 'compose' AND outcome = 'ok') AS composed,
        count(*) FILTER (stage = 'validate' AND outcome = 'ok') AS validated,
        count(*) FILTER (stage = 'certify' AND outcome = 'ok') AS certified,
        count(*) FILTER (stage = 'publish' AND outcome = 'ok') AS published,
        count(*) FILTER (outcome = 'failed') AS failed
    FROM last_events GROUP BY ALL
) LEFT JOIN reasons USING (flow, source)
ORDER BY yield DESC, candidates DESC, flow, source;

-- How sure it is that a task's deciding tests do not waver. The runs of all validations are pooled: `upper` is the
-- Wilson 95 % upper bound (z = 1.96) of the chance that one more run of the worst test disagrees with its role.
CREATE OR REPLACE VIEW flaky AS
WITH pooled AS (
    SELECT task_id, state, sum(runs)::BIGINT AS runs, sum(wavered)::BIGINT AS wavered
    FROM flakes GROUP BY ALL
)
SELECT
    task_id, state, runs, wavered,
    (wavered / runs + z * z / (2 * runs) + z * sqrt(wavered / runs * (1 - wavered / runs) / runs + z * z / (4 * runs * runs)))
        / (1 + z * z / runs) AS upper,
    repo,
    len(list_filter(quarantined, lambda t: starts_with(t, 'flaky '))) AS quarantined_flaky,
    len(list_filter(quarantined, lambda t: starts_with(t, 'order_dependent '))) AS quarantined_order,
    len(list_filter(quarantined, lambda t: starts_with(t, 'date_dependent '))) AS quarantined_date
FROM (SELECT *, 1.959963984540054::DOUBLE AS z FROM pooled WHERE runs > 0) LEFT JOIN tasks USING (task_id)
ORDER BY upper DESC, task_id, state;

-- What a run spent, stage by stage, failed attempts included; the last two columns divide by the tasks it validated.
CREATE OR REPLACE VIEW cost AS
WITH validated AS (
    SELECT run_id, count(*) AS validated FROM last_attempts
    WHERE stage = 'validate' AND outcome = 'ok' GROUP BY ALL
)
SELECT
    run_id, flow, stage,
    count(DISTINCT item) AS items,
    count(*) AS attempts,
    sum(seconds) AS seconds,
    sum(tokens)::BIGINT AS tokens,
    sum(cost_usd) AS cost_usd,
    coalesce(any_value(validated), 0) AS validated,
    sum(seconds) / any_value(validated) AS seconds_per_validated,
    sum(cost_usd) / any_value(validated) AS cost_usd_per_validated
FROM events LEFT JOIN validated USING (run_id)
GROUP BY run_id, flow, stage
ORDER BY flow, run_id, coalesce(list_position(['source', 'mine', 'build', 'compose', 'validate', 'certify', 'publish'], stage), 99), stage;

-- The certificate that counts for each task: its last one. `stale` is true where another catalogue was used than last.
CREATE OR REPLACE VIEW certified AS
SELECT
    task_id, outcome, reason, cheats, succeeded, inverted, seconds, validation_seconds,
    seconds / greatest(2 * validation_seconds, 90) AS cost_ratio,
    catalogue <> last_value(catalogue) OVER (
        ORDER BY recorded_at, certificate_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) AS stale,
    certificate_id, bundle, environment_id, image_digest, catalogue, run_id, recorded_at
FROM certificates
QUALIFY row_number() OVER (PARTITION BY task_id ORDER BY recorded_at DESC, certificate_id DESC) = 1
ORDER BY task_id;

-- The exploit rate: per trial of the cheat catalogue, the tasks it was run against and those whose grader paid it.
CREATE OR REPLACE VIEW exploits AS
SELECT
    substr(control, 7) AS cheat,
    count(DISTINCT task_id) AS tasks,
    count(*) AS gradings,
    count(*) FILTER (verdict = 'tampered') AS tampered,
    count(*) FILTER (verdict = 'scored' AND reward = 0) AS scored_zero,
    count(*) FILTER (verdict = 'malformed') AS malformed,
    count(DISTINCT task_id) FILTER (reward > 0) AS succeeded
FROM validations WHERE starts_with(control, 'cheat:')
GROUP BY 1 ORDER BY succeeded DESC, cheat;

-- Published tasks that no longer held, and why.
CREATE OR REPLACE VIEW decay AS
SELECT task_id, t.repo, t.family, t.language, e.reason, e.recorded_at AS retired_at, e.run_id
FROM task_events e JOIN tasks t USING (task_id)
WHERE e.event = 'status' AND e.value = 'retired'
ORDER BY retired_at DESC, task_id;

-- How often each model, in each scaffold, was worth how much at each task: for rejection sampling and difficulty.
-- Attempts that the model itself broke off are not counted; they say nothing of the task.
CREATE OR REPLACE VIEW attempts AS
SELECT
    task_id, agent, context, model,
    count(*) AS attempts,
    count(*) FILTER (reward = 1) AS solved,
    avg(reward) AS mean_reward,
    1 - avg(reward) AS difficulty,
    median(turns) AS turns,
    sum(tokens_read + tokens_written)::BIGINT AS tokens,
    sum(cost_usd) AS cost_usd
FROM trajectories WHERE reward IS NOT NULL
GROUP BY ALL ORDER BY ALL;
