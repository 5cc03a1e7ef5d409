SELECT time, device, channel, value, text, flags, topic, received_at FROM readings ORDER BY device, channel, time
