-- Indexes for what would read a whole table without them.

-- Runs that a host did not end, looked for at each start.
CREATE INDEX plugin_runs_running ON plugin_runs(state) WHERE state = 'running';

-- What changed in one namespace, in the order of the changes.
CREATE INDEX setting_changes_by_namespace ON setting_changes(namespace);

-- Windows of one rollup that wait, those that came first first.
CREATE INDEX rollup_late_by_rollup ON rollup_late(rollup);
