-- Eight lines of the audit trail for each incident, oldest first.
INSERT INTO agent_events (event_id, incident_id, agent_name, event_type, event_time_ms, summary, payload, created_at)
SELECT md5('event' || n || '.' || line)::uuid, md5('bench' || n)::uuid,
       (ARRAY['detection', 'correlation', 'communication', 'investigation', 'remediation', 'investigation', 'communication', 'postmortem'])[line],
       (ARRAY['ANOMALY_DETECTED', 'INCIDENT_OPENED', 'NOTIFICATION_SENT', 'RCA_COMPLETE', 'PLAN_READY', 'INCIDENT_RESOLVED', 'NOTIFICATION_SENT', 'POSTMORTEM_GENERATED'])[line],
       (extract(epoch FROM at) * 1000)::bigint, format('line %s of incident %s, as long as such a line is', line, n),
       '{"topic": "incidents.opened", "partition": 0}', at
FROM (SELECT n, line, now() - n * INTERVAL '5 minutes' + line * INTERVAL '1 minute' AS at
      FROM generate_series($1::bigint, 1, -1) AS n CROSS JOIN generate_series(1, 8) AS line) AS numbered
ORDER BY n DESC, line
