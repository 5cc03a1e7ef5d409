SELECT seq, received_at, device, topic, lane, qos, payload, error IS NULL AS fine FROM messages ORDER BY seq
