-- Times are UTC. Mappings and lists are JSON text. Free text may hold escapes: see evalharness/store/text.py.
-- Small tables have primary keys. The three large ones (samples, outputs, scores) have none: on a million rows an index
-- made the table three times larger and a flush of 200 rows three times slower than deleting and inserting by block.

CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL);

CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY, suite_name VARCHAR NOT NULL, suite_yaml VARCHAR NOT NULL, git_sha VARCHAR,
    versions VARCHAR NOT NULL, argv VARCHAR NOT NULL, state VARCHAR NOT NULL, started TIMESTAMP NOT NULL, finished TIMESTAMP,
    notes VARCHAR NOT NULL
);

CREATE TABLE datasets (
    dataset_id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, split VARCHAR NOT NULL, source VARCHAR NOT NULL, n INTEGER NOT NULL,
    details VARCHAR NOT NULL -- hash of what the id leaves out (clusters, slices, fields, sources): decides whether samples are rewritten
);

CREATE TABLE samples (
    dataset_id VARCHAR NOT NULL, sample_id VARCHAR NOT NULL, position INTEGER NOT NULL,
    input VARCHAR NOT NULL, target VARCHAR, messages VARCHAR NOT NULL, targets VARCHAR NOT NULL, fields VARCHAR NOT NULL,
    cluster VARCHAR, slices VARCHAR NOT NULL, source VARCHAR NOT NULL
);

CREATE TABLE trainings (
    training_id VARCHAR PRIMARY KEY, runner VARCHAR NOT NULL, base VARCHAR NOT NULL, params VARCHAR NOT NULL, seed BIGINT NOT NULL,
    data_id VARCHAR NOT NULL, state VARCHAR NOT NULL, model VARCHAR, tokens BIGINT, cost_usd DOUBLE, seconds DOUBLE,
    error VARCHAR, run_id VARCHAR, updated TIMESTAMP NOT NULL
);

CREATE TABLE training_points (
    training_id VARCHAR, step INTEGER, train_loss DOUBLE, dev_loss DOUBLE, learning_rate DOUBLE, seconds DOUBLE,
    PRIMARY KEY (training_id, step)
);

CREATE TABLE resources (
    resource_id VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, provider VARCHAR NOT NULL, intent_key VARCHAR NOT NULL,
    provider_id VARCHAR, state VARCHAR NOT NULL, price_usd_per_hour DOUBLE, opened TIMESTAMP NOT NULL, closed TIMESTAMP,
    run_id VARCHAR, note VARCHAR NOT NULL
);

CREATE TABLE arms (
    arm_id VARCHAR PRIMARY KEY, label VARCHAR NOT NULL, role VARCHAR NOT NULL, training_id VARCHAR,
    model VARCHAR NOT NULL, prompt VARCHAR NOT NULL, sampling VARCHAR NOT NULL
);

-- Which arm took part in which run, under which label: labels may change from run to run, the arm's hash does not.
CREATE TABLE run_arms (
    run_id VARCHAR, dataset_id VARCHAR, position INTEGER, arm_id VARCHAR NOT NULL, label VARCHAR NOT NULL, role VARCHAR NOT NULL,
    training_id VARCHAR, error VARCHAR, PRIMARY KEY (run_id, dataset_id, position)
);

-- A block is what one arm answered, on whatever dataset: a row that is added to a test set leaves the others answered.
-- Its number rises with time, so the rows of a block lie together in the file and DuckDB's min-max statistics skip all other
-- blocks: finding 200 rows among ten million scores took about 10 ms, not 450.
CREATE TABLE blocks (block INTEGER PRIMARY KEY, arm_id VARCHAR NOT NULL UNIQUE);

CREATE TABLE outputs (
    block INTEGER NOT NULL, output_id VARCHAR NOT NULL, arm_id VARCHAR NOT NULL, dataset_id VARCHAR NOT NULL, sample_id VARCHAR NOT NULL,
    repeat INTEGER NOT NULL, text VARCHAR, finish VARCHAR NOT NULL, prompt_tokens BIGINT, completion_tokens BIGINT, latency_s DOUBLE,
    cost_usd DOUBLE, error VARCHAR, raw VARCHAR, outcome_key VARCHAR NOT NULL, run_id VARCHAR NOT NULL
);

CREATE TABLE metrics (
    metric_id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, version VARCHAR NOT NULL, options VARCHAR NOT NULL,
    higher_is_better BOOLEAN NOT NULL, range_low DOUBLE NOT NULL, range_high DOUBLE NOT NULL, kind VARCHAR NOT NULL
);

CREATE TABLE run_metrics (
    run_id VARCHAR, position INTEGER, metric_id VARCHAR NOT NULL, label VARCHAR NOT NULL, PRIMARY KEY (run_id, position)
);

CREATE TABLE scores (
    block INTEGER NOT NULL, score_id VARCHAR NOT NULL, output_id VARCHAR NOT NULL, metric_id VARCHAR NOT NULL, other_output_id VARCHAR,
    value DOUBLE, stats DOUBLE[] NOT NULL, why VARCHAR, error VARCHAR, cost_usd DOUBLE
);

CREATE TABLE labels (
    output_id VARCHAR, other_output_id VARCHAR DEFAULT '', annotator VARCHAR, value DOUBLE NOT NULL, created TIMESTAMP NOT NULL,
    PRIMARY KEY (output_id, other_output_id, annotator)
);

CREATE TABLE verdicts (
    verdict_id VARCHAR PRIMARY KEY, run_id VARCHAR NOT NULL, kind VARCHAR NOT NULL, dataset_id VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL, json VARCHAR NOT NULL, created TIMESTAMP NOT NULL
);
