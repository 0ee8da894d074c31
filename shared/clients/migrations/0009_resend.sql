-- A message that finally failed is sent again from what its job carries.
CREATE INDEX jobs_by_message ON jobs (agent, (payload #>> '{notification,message_id}'))
    WHERE payload ? 'notification';

COMMENT ON VIEW emails IS
    'One row per mail: FAILED where it failed for anybody, PENDING where somebody waits for it, SENT where everybody has it.';
