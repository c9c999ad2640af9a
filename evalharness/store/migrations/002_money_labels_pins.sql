-- What is needed to find and release a resource from any machine, and what it was expected to cost beside what it did.
ALTER TABLE resources ADD COLUMN settings VARCHAR DEFAULT '{}';
ALTER TABLE resources ADD COLUMN estimate_usd DOUBLE;
ALTER TABLE resources ADD COLUMN cost_usd DOUBLE;

-- A person answers a question about an output: `question` is the hash of the rubric and scale, so a label outlives a change of judge.
DROP TABLE labels;
CREATE TABLE labels (
    question VARCHAR, output_id VARCHAR, other_output_id VARCHAR DEFAULT '', annotator VARCHAR, value DOUBLE NOT NULL,
    note VARCHAR NOT NULL, created TIMESTAMP NOT NULL, PRIMARY KEY (question, output_id, other_output_id, annotator)
);

-- A run that later ones are compared with, by name.
CREATE TABLE pins (suite_name VARCHAR, name VARCHAR, run_id VARCHAR NOT NULL, created TIMESTAMP NOT NULL, PRIMARY KEY (suite_name, name));

-- What the data checks found when a run began.
CREATE TABLE findings (
    run_id VARCHAR, position INTEGER, rule VARCHAR NOT NULL, severity VARCHAR NOT NULL, count BIGINT NOT NULL, allowed VARCHAR,
    json VARCHAR NOT NULL, PRIMARY KEY (run_id, position)
);
