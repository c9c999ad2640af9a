-- The labelled rows that a run could train on, by their content's ids: what a training of that run has seen, and what came since.
CREATE TABLE row_sets (rows_id VARCHAR PRIMARY KEY, sample_ids VARCHAR[] NOT NULL);
CREATE TABLE run_rows (run_id VARCHAR PRIMARY KEY, rows_id VARCHAR NOT NULL);
