-- Incidents as the agents leave them, $1 of them, one every five minutes back
-- from now. $2 … $7 are documents of one incident, as JSON. One in twenty is
-- still open; services, severities and kinds are spread evenly.
INSERT INTO incidents (id, short_id, environment, status, anomaly_type, severity, affected_services,
    blast_radius, correlation_context, rca_candidates, top_root_cause, rca_confidence,
    remediation_plan, postmortem, detection_time, resolution_time, resolution, created_at, updated_at)
SELECT id, 'INC-' || upper(left(id::text, 8)), 'bench',
       CASE WHEN open THEN (ARRAY['INVESTIGATING', 'RCA_COMPLETE', 'REMEDIATING'])[1 + n % 3] ELSE 'RESOLVED' END,
       (ARRAY['LATENCY_SPIKE', 'ERROR_RATE_SPIKE', 'CPU_SATURATION', 'MEMORY_LEAK', 'DB_CONNECTION_EXHAUSTION'])[1 + n % 5],
       (ARRAY['CRITICAL', 'HIGH', 'HIGH', 'MEDIUM'])[1 + (n / 7) % 4],
       jsonb_build_array(format('service-%s', n % 200), format('service-%s', (n * 7 + 1) % 200)),
       $2::jsonb, $3::jsonb, $4::jsonb, 'the pool ran empty', 0.87, $5::jsonb, $6,
       at, CASE WHEN NOT open THEN at + INTERVAL '18 minutes' END,
       CASE WHEN NOT open THEN $7::jsonb END, at, at
FROM (SELECT n, md5('bench' || n)::uuid AS id, n % 20 = 0 AS open,
             now() - n * INTERVAL '5 minutes' AS at
      FROM generate_series($1::bigint, 1, -1) AS n) AS numbered
