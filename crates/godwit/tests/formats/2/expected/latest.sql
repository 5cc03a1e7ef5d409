SELECT device, channel, time, value, text FROM latest ORDER BY device, channel
