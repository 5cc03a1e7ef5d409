SELECT time, device, channel, count, sum, min, max, first, last, increase FROM readings_1h WHERE device <> 'office-1' ORDER BY device, channel, time
