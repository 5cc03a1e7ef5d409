SELECT date_trunc('hour', time) AS hour, channel, count(*) AS readings, avg(value) AS mean FROM readings WHERE device = 'office-1' GROUP BY hour, channel ORDER BY hour, channel
