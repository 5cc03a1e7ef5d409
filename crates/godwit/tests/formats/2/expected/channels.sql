SELECT device, channel, unit, kind, type FROM channels ORDER BY device, channel
