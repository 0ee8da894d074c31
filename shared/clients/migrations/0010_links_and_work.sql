-- Links by which people take an incident are used once, too. They are about no
-- plan: plan_hash and step_id are empty.
ALTER TABLE approval_links_used DROP CONSTRAINT approval_links_used_command_check;
ALTER TABLE approval_links_used ADD CONSTRAINT approval_links_used_command_check
    CHECK (command IN ('approve', 'reject', 'acknowledge'));

-- How long a job was worked on, all tries together, wall clock of the worker:
-- what a stage's own work costs. A try that ended with its process is missing.
ALTER TABLE jobs ADD COLUMN worked_ms BIGINT NOT NULL DEFAULT 0;
-- The ledger asks for the jobs about one incident: its own scope, or, where the
-- scope is wider, what the job carries.
CREATE INDEX jobs_by_scope ON jobs (scope);
CREATE INDEX jobs_by_incident ON jobs ((payload ->> 'incident_id'));
