-- One query a line; `cargo xtask analytics-sql record` writes ClickHouse's answers to answers.jsonl.
-- Statements and clauses
SELECT 'Hello Workers Analytics Engine' AS message
SELECT * FROM events ORDER BY double5 LIMIT 3
SELECT blob2 AS probe_name, double3 AS temperature FROM events ORDER BY double5 LIMIT 5
SELECT blob2 AS probe_name, double3 AS temp_c, double3*1.8+32 AS temp_f FROM events ORDER BY double5 LIMIT 5
SELECT blob2 AS probe_name, if(double3 <= 0, 'FREEZING', 'NOT FREEZING') AS description FROM events ORDER BY double5 LIMIT 5
SELECT blob1 AS probe_name, avg(double1) AS average_temp FROM events GROUP BY probe_name ORDER BY probe_name
SELECT blob1 AS probe_name, avg(double1) AS average_temp FROM events GROUP BY probe_name HAVING average_temp > 10 ORDER BY 1
SELECT blob1 AS probe_name, count() AS num_readings FROM events GROUP BY probe_name HAVING num_readings > 15 ORDER BY num_readings DESC, probe_name
SELECT blob1 AS city, avg(double1) AS avg_temp, count() AS readings FROM events GROUP BY city HAVING avg_temp > 20 AND readings >= 15 ORDER BY city
SELECT probe_name, num_readings FROM (SELECT blob1 AS probe_name, count() AS num_readings FROM events GROUP BY probe_name) WHERE num_readings > 10 ORDER BY num_readings DESC, probe_name LIMIT 3
SELECT count() FROM (SELECT blob1, count() AS n FROM (SELECT blob1 FROM events WHERE double1 > 0) GROUP BY blob1)
SELECT blob4 FROM events ORDER BY double5 DESC LIMIT 3 OFFSET 2
SELECT blob4 FROM events WHERE double5 < 3 ORDER BY double5 LIMIT ALL
SELECT blob4 FROM events ORDER BY double5 OFFSET 198
SELECT blob4 FROM events ORDER BY double5 LIMIT 0
SELECT blob1 AS x, x AS y, y FROM events ORDER BY y DESC, double5 LIMIT 2
SELECT e.blob4, events.double5 FROM events AS e ORDER BY double5 LIMIT 1
SELECT upper(blob1) AS blob1, count() FROM events GROUP BY blob1 ORDER BY blob1
SELECT double1+1 AS double1, double1+1 AS z FROM events ORDER BY double5 LIMIT 2
SELECT `blob4`, "double5" AS "a ""b""" FROM events ORDER BY double5 LIMIT 1
SELECT blob4 end FROM events ORDER BY double5 LIMIT 1
SELECT 1 FROM events WHERE 0
SELECT blob1, count() FROM events WHERE 0 GROUP BY blob1
SELECT count() FROM events HAVING count() > 1000
SELECT blob1 FROM events WHERE 0 LIMIT 5
-- Cloudflare's examples, on the columns of the test's events
SELECT timestamp, blob1 AS location_id, double1 AS inside_temp, double2 AS outside_temp FROM events WHERE timestamp > toDateTime('2024-12-31 00:00:00') - INTERVAL '1' DAY ORDER BY double5
SELECT index1 AS location_id, SUM(_sample_interval) AS n_readings FROM events WHERE timestamp > toDateTime('2024-04-01 00:00:00') - INTERVAL '7' DAY GROUP BY index1 ORDER BY index1
SELECT index1 AS location_id, SUM(_sample_interval * double1) / SUM(_sample_interval) AS average_temp FROM events GROUP BY index1 ORDER BY index1
SELECT blob1 AS city, max(double1) as max_temp, min(double1) as min_temp FROM events WHERE timestamp > toDateTime('2024-03-31 00:00:00') GROUP BY city ORDER BY city
SELECT index1 AS customer_id, toStartOfInterval(timestamp, INTERVAL '1' DAY) AS date, blob1 AS request_endpoint, sum(_sample_interval) AS request_count FROM events WHERE customer_id = 'tenant-1' AND timestamp >= toDateTime('2024-03-01 00:00:00') AND timestamp < toDateTime('2024-04-01 00:00:00') GROUP BY customer_id, date, request_endpoint ORDER BY date, request_endpoint
SELECT toStartOfInterval(timestamp, INTERVAL '1' HOUR) AS hour, sum(_sample_interval) AS count FROM events GROUP BY hour ORDER BY hour ASC
-- In the shape of Counterscale's
SELECT SUM(_sample_interval) as count, /* in the local zone */ toStartOfInterval(timestamp, INTERVAL '1' DAY, 'America/New_York') as _bucket, double2 as isVisitor, double3 as isBounce, toDateTime(_bucket, 'Etc/UTC') as bucket FROM events WHERE timestamp >= toDateTime('2024-03-01 00:00:00') AND timestamp < toDateTime('2024-04-01 00:00:00') AND index1 = 'tenant-1' GROUP BY _bucket, isVisitor, isBounce ORDER BY _bucket ASC, isVisitor, isBounce
SELECT SUM(_sample_interval) as count, double2 as isVisitor, double3 as isBounce FROM events WHERE timestamp >= toDateTime('2024-12-31 00:00:00') - INTERVAL '90' DAY AND timestamp < toDateTime('2024-12-31 23:00:00') AND blob3 = 'de' GROUP BY isVisitor, isBounce ORDER BY isVisitor, isBounce ASC
SELECT blob1, SUM(_sample_interval) as count FROM events WHERE timestamp >= toDateTime('2024-12-31 00:00:00') - INTERVAL '90' DAY AND timestamp < toDateTime('2024-12-31 23:00:00') AND double2 = 1 AND index1 = 'tenant-1' GROUP BY blob1 ORDER BY count DESC, blob1 LIMIT 10
-- Names of columns without an alias
SELECT SUM(double1), Avg(double2), COUNT(*), count(1), COUNT(DISTINCT blob1), sum(DISTINCT double2), count() + 1 FROM events
SELECT -double1, - 255, -(256), -(double1+1), not blob1='x' and double1>1 or 1=0, 1=1 and 2=2 and 3=3, (1 and 1) and 1, 1+2+3, (1+2)*3 FROM events ORDER BY double5 LIMIT 1
SELECT 2.50, 1e3, 1e21, 1e-7, 0.000001, 123456789012345678, 1.0, .5, 1e20, 'it''s', 'a\'b', 'tab\t', 18446744073709551616, 'a\%b\cd\x41', '\/'
SELECT double1 BETWEEN 1 AND 2, double1 NOT BETWEEN 1 AND 2, blob1 IN ('a'), blob1 NOT IN ('a', 'b'), blob1 LIKE 'a%', blob1 NOT LIKE 'a', blob1 ILIKE 'a', blob1 NOT ILIKE 'a' FROM events ORDER BY double5 LIMIT 1
SELECT CEIL(1.5), FLOOR(1.5, 1), position('a' IN 'ba'), EXTRACT(YEAR FROM timestamp), toStartOfInterval(timestamp, INTERVAL '15' MINUTE), timestamp - INTERVAL 1 DAY, IF(1,2,3), quantileExactWeighted(0.5)(double1, 1) FROM events WHERE double5 = 0 GROUP BY timestamp
-- Literals and types
SELECT 1, -1, 256, 65536, 4294967296, 1.5, 'a', true, false, 18446744073709551615, -9223372036854775808, -128, -129
SELECT 1+1, 1-1, 2*3, 7/2, 7%2, -7%2, -7%3, 7.5%2, 255+255, 1-2, 65535+1, 4294967295+1, 18446744073709551615+1, true+true, -true
SELECT toUInt32(5)-toUInt32(6), toUInt32(1)+(-1), count()-1, count()*1.5, count()/2, -count() FROM events
SELECT 7 % -3, -7 % -3, toUInt32(7) % -3, -7 % toUInt32(3), 7 % 300, 300 % 7, count() % 7, 2.5 % 1, -2.5 % 1, -1 % 4294967296 FROM events
SELECT 1/0, -1/0, 0/0, 1e20, -0.0, 1e300*1e10
SELECT 1 = 1.0, -1 < toUInt32(1), 9007199254740993 = 9007199254740992.0, 18446744073709551615 > -1, 'a' < 'b', 'a' = 'A', true = 1, 1 <> 2, 1 != 1, 1 = '1', '5' < 10, 0/0 = 0/0, 0/0 != 1, -0.0 = 0.0
SELECT 1 AND 2, 0 OR 2, NOT 2, not true, true and true, 1=1 and true, not 1.0, true or 1, 0.5 and 1
SELECT 1 IN (1.0, 2), 1 IN (1.5), 1 IN (-1), 1 IN (256, 257), 'a' IN ('a', 'b'), true IN (1), 1 IN (true), 1.5 IN (1,2), -0.0 IN (0.0), 'x' IN ('x', 1), 1 IN (1+0)
SELECT INTERVAL '42' DAY, -INTERVAL '1' HOUR, INTERVAL 7 SECOND
-- Aggregates
SELECT count(), sum(double1), avg(double1), min(double1), max(double1), min(blob1), max(blob1), min(timestamp), max(timestamp), sum(_sample_interval), avg(_sample_interval), sum(-1), sum(true) FROM events
SELECT count(DISTINCT blob1), count(DISTINCT double1), count(DISTINCT double4), count(DISTINCT blob1, blob2), sum(DISTINCT double1), avg(DISTINCT double2) FROM events
SELECT max(double4), min(double4), avg(timestamp), min(true), max(blob1 = 'a'), avg(toStartOfMonth(timestamp)) FROM events
SELECT quantileExactWeighted(0.5)(double1, _sample_interval), quantileExactWeighted(0.95)(double1, toUInt32(double2)), quantileWeighted(0.9, double2, _sample_interval) AS q, quantileExactWeighted(0.5)(timestamp, 1), quantileExactWeighted(0)(double4, 1), quantileExactWeighted(1)(double2, 1), quantileExactWeighted(0.5)(double1, 0) FROM events
SELECT argMin(blob4, double5), argMax(blob4, double5), argMax(timestamp, double5), first_value(blob4), last_value(blob4), argMin(double5, blob4) FROM events
SELECT topK(blob5), topK(1)(blob5), topK(double6), topKWeighted(blob5, _sample_interval), topKWeighted(2)(blob5, 3), topK(0+1)(blob5) FROM events
SELECT countIf(double1 > 0), sumIf(double1, double1 > 0), avgIf(double1, double1 > 1e6), sumIf(_sample_interval, blob1 = 'a'), avgIf(double1, blob1 = 'a'), countIf(toUInt8(2)) FROM events
SELECT count(), sum(double1), avg(double1), min(double1), max(blob1), max(timestamp), quantileExactWeighted(0.5)(double1, 1), topK(blob1), argMin(blob1,double1), first_value(blob1), countIf(1), avgIf(double1,1), sum(_sample_interval), quantileExactWeighted(0.5)(timestamp, 1), quantileExactWeighted(0.5)(_sample_interval, 1) FROM events WHERE 0
SELECT blob3, double2, count() AS n, sum(double1), max(blob4) FROM events GROUP BY blob3, double2 ORDER BY blob3, double2 DESC
SELECT double1, count() FROM events GROUP BY double1 ORDER BY double1, count()
SELECT toStartOfMonth(timestamp) AS month, blob2, count() FROM events GROUP BY month, blob2 ORDER BY month DESC, blob2
-- Dates and times
SELECT toYear(timestamp), toMonth(timestamp), toDayOfMonth(timestamp), toDayOfWeek(timestamp), toHour(timestamp), toMinute(timestamp), toSecond(timestamp), toUnixTimestamp(timestamp), toYYYYMM(timestamp) FROM events ORDER BY double5 LIMIT 20
SELECT toStartOfYear(timestamp) AS a, toStartOfMonth(timestamp) AS b, toStartOfWeek(timestamp) AS c, toStartOfDay(timestamp) AS d, toStartOfHour(timestamp) AS e, toStartOfFifteenMinutes(timestamp) AS f, toStartOfTenMinutes(timestamp) AS g, toStartOfFiveMinutes(timestamp) AS h, toStartOfMinute(timestamp) AS i FROM events ORDER BY double5 LIMIT 20
SELECT toStartOfInterval(timestamp, INTERVAL '15' MINUTE), toStartOfInterval(timestamp, INTERVAL '1' DAY), toStartOfInterval(timestamp, INTERVAL '1' MONTH), toStartOfInterval(timestamp, INTERVAL '1' YEAR), toStartOfInterval(timestamp, INTERVAL '30' SECOND), toStartOfInterval(timestamp, INTERVAL '7' HOUR), toStartOfInterval(timestamp, INTERVAL '3' DAY), toStartOfInterval(timestamp, INTERVAL '5' MONTH), toStartOfInterval(timestamp, INTERVAL '7' MINUTE), toStartOfInterval(timestamp, INTERVAL '3' YEAR), toStartOfInterval(timestamp, INTERVAL '100' SECOND) FROM events ORDER BY double5 LIMIT 20
SELECT toStartOfInterval(timestamp, INTERVAL '1' HOUR, 'Asia/Kolkata'), toStartOfInterval(timestamp, INTERVAL '2' HOUR, 'Europe/Berlin'), toStartOfInterval(timestamp, INTERVAL '1' DAY, 'America/New_York'), toStartOfInterval(timestamp, INTERVAL '1' MONTH, 'America/New_York'), toStartOfInterval(timestamp, INTERVAL '6' HOUR, 'Australia/Lord_Howe') FROM events ORDER BY double5 LIMIT 50
SELECT toDateTime('2024-01-01 00:00:00'), toDateTime(355924804), toDateTime('355924804'), toDateTime(1.9), toDateTime('2024-01-01'), toDateTime('2022-12-01 16:17:00', 'America/New_York'), toDateTime(-1), toDateTime(4294967296), toDateTime('1960-01-01 00:00:00'), toDateTime('2200-01-01 00:00:00'), toDateTime(true)
SELECT toDateTime(timestamp, 'Asia/Tokyo'), toDateTime(toStartOfMonth(timestamp), 'Asia/Tokyo'), toDateTime(1704067200, 'Asia/Tokyo'), toDateTime('2024-10-27 02:30:00', 'Europe/Berlin'), toUnixTimestamp(toDateTime('2024-03-31 02:30:00', 'Europe/Berlin')) FROM events ORDER BY double5 LIMIT 3
SELECT timestamp + 5, timestamp - 5, 5 + timestamp, timestamp + 1.5, timestamp + _sample_interval, timestamp - timestamp, toStartOfMonth(timestamp) + 1, timestamp > toStartOfMonth(timestamp), timestamp = '2024-01-01 00:00:00', timestamp > 5, toStartOfMonth(timestamp) = '2024-01-01' FROM events ORDER BY double5 LIMIT 3
SELECT timestamp + INTERVAL '1' MONTH, timestamp - INTERVAL '1' YEAR, timestamp + INTERVAL '90' SECOND, toDateTime('2024-03-31 12:00:00') - INTERVAL '1' MONTH, toStartOfMonth(timestamp) - INTERVAL '1' DAY, toStartOfMonth(timestamp) + INTERVAL '1' HOUR, toDateTime('2024-03-30 02:30:00','Europe/Berlin') + INTERVAL '1' DAY, toDateTime('2024-03-31 00:30:00','Europe/Berlin') + INTERVAL '2' HOUR, toDateTime(0) - 5, timestamp - INTERVAL '-1' DAY FROM events ORDER BY double5 LIMIT 5
SELECT extract(YEAR FROM timestamp), extract(MONTH FROM timestamp), extract(DAY FROM timestamp), extract(HOUR FROM timestamp), extract(MINUTE FROM timestamp), extract(SECOND FROM toDateTime('2022-06-06 11:30:15')) FROM events ORDER BY double5 LIMIT 3
SELECT formatDateTime(timestamp, '%a|%b|%c|%C|%d|%D|%e|%f|%F|%g|%G|%h|%H|%i|%I|%j|%k|%l|%m|%M|%n|%p|%Q|%r|%R|%s|%S|%t|%T|%u|%V|%w|%W|%y|%Y|%z|%%') FROM events ORDER BY double5 LIMIT 20
SELECT formatDateTime(toStartOfMonth(timestamp), '%F %T'), formatDateTime(timestamp, '%Y-%m-%d %z', 'America/New_York'), formatDateTime(toDateTime('2022-12-01 16:17:00', 'America/New_York'), '%F %T'), formatDateTime(toDateTime('2022-12-01 16:17:00', 'America/New_York'), '%Y-%m-%d', 'Etc/UTC') FROM events ORDER BY double5 LIMIT 3
SELECT timestamp BETWEEN '2024-01-01 00:00:00' AND '2024-03-01 00:00:00', timestamp IN ('2024-01-01 00:00:00'), timestamp > '1704067200', toStartOfMonth(timestamp) IN ('2024-01-01') FROM events ORDER BY double5 LIMIT 3
-- Texts
SELECT length('é') AS a, length(blob1) AS b, empty(''), empty(blob1), lower('ÀB'), lowerUTF8('ÀB'), upper('àb'), upperUTF8('àß'), toLower('ÀB') AS c, toUpper('àß') AS d, startsWith('abc','ab'), endsWith('abc','bc'), position(':' IN 'é:'), position('' IN 'abc'), position('a' IN '') FROM events ORDER BY double5 LIMIT 3
SELECT substring('héllo', 2) AS a, substring('héllo', 2, 2) AS b, substring('héllo', 0, 2) AS c, substring('héllo', -2) AS d, substring('héllo', -3, 2) AS e, substring('héllo', 10) AS f, substring('héllo', 2, -1) AS g, substring('héllo', -10, 7) AS h, substring('hello', -4, -2) AS i, substring(blob1, 2, 3) AS j FROM events ORDER BY double5 LIMIT 5
SELECT substring('hello: world', 1, position(':' IN 'hello: world')-1) AS s
SELECT format('blob1: {}', blob1), format('{0} {1} {0}', 'a', 1.5), format('{}', timestamp), format('{}', true), format('{{}}', 'a'), format('{} {}', blob1, double1), format('{}', 1e21), format('{}', 1/0), format('{}', INTERVAL '1' DAY) FROM events ORDER BY double5 LIMIT 3
SELECT blob1, hex(blob1), bin(blob2) FROM events ORDER BY double5 LIMIT 12
SELECT 'a.c' LIKE 'a.c', 'abc' LIKE 'a.c', 'aXc' ILIKE 'AxC', '%' LIKE '\\%', 'é' ILIKE 'É', 'a\nb' LIKE 'a%b', 'ab' LIKE 'a\\b', 'a\\b' LIKE 'a\\\\b', 'é' LIKE '_', 'a_b' LIKE 'a\_b', '' LIKE '%', '' LIKE ''
SELECT blob1 LIKE '%o%', blob1 LIKE '/____', blob1 LIKE blob2, blob1 ILIKE '%B' FROM events ORDER BY double5 LIMIT 12
SELECT bin(1), bin('abc'), bin(256), bin(-1), bin(1.5), hex(1), hex('abc'), hex(255), hex(256), hex(65536), hex(-1), hex(-256), hex(1.5), hex(''), hex(0), bin(0), bin(''), hex(timestamp), hex(toStartOfMonth(timestamp)), hex(true) FROM events ORDER BY double5 LIMIT 2
-- Numbers
SELECT intDiv(7,2), intDiv(-7,2), intDiv(7.9,2), intDiv(7, -2), intDiv(toUInt32(7),2), intDiv(7, 0.5), intDiv(300, 7), intDiv(count(), 2) FROM events
SELECT log(1), ln(1), log(0), log(-1), pow(2,10), pow(2, 0.5), pow(-8, 1/3), pow(double1, 2) FROM events ORDER BY double5 LIMIT 3
SELECT round(5.5), round(2.5), round(-2.5), round(3.14, 1), round(7), round(1234, -2), round(toUInt8(255), -1), round(1.005,2), round(2.675,2), round(-0.4), round(1e300), round(1.1, 400), round(1.5, -400), round(25, -1), round(-25, -1), round(250, -2), round(-128, -1), round(toUInt32(4294967295), -1), round(true), round(0.15, 1), round(0.25, 1)
SELECT floor(5.5), floor(3.14, 1), ceil(5.5), ceil(3.14, 1), floor(-2.5), ceil(-2.5), ceil(-0.5), floor(25, -1), floor(-25, -1), ceil(25, -1), ceil(-25, -1), floor(toUInt8(5), -3), ceil(toUInt8(250), -2), floor(12345.678, -2), ceil(12345.678, -2)
SELECT if(1, 'a', 'b'), if(double1 > 0, 1, -1), if(double1 > 0, 256, 1), if(_sample_interval > 1, double1, 0), if(double1 > 0, toUInt32(1), -1), if(1, true, false), if(1, true, 0), if(true, 1, 256), if(1=1, -1, 256), if(double1 > 0, toStartOfMonth(timestamp), timestamp) FROM events ORDER BY double5 LIMIT 5
SELECT toUInt8(1), toUInt8(256), toUInt8(-1), toUInt8('5'), toUInt8(1.9), toUInt8(300.5), toUInt32(4294967296), toUInt32('12'), toUInt32(-1), toUInt32(timestamp), toUInt8(true), toUInt8('256'), toUInt32(-1.5), toUInt8('+1'), toUInt32(double1) FROM events ORDER BY double5 LIMIT 5
SELECT bitAnd(1,3), bitAnd(-1,3), bitAnd(toUInt32(5), toUInt8(3)), bitOr(1,256), bitXor(1,2), bitNot(1), bitNot(-1), bitNot(256), bitCount(7), bitCount(-1), bitCount(1.5), bitHammingDistance(3,0), bitHammingDistance(1,256), bitHammingDistance(-1,1), bitAnd(255,-1), bitOr(65535,-1), bitXor(4294967295,-1), bitNot(true)
SELECT bitRotateLeft(1,1), bitRotateLeft(128,1), bitRotateRight(1,1), bitRotateRight(12,2), bitShiftLeft(1,1), bitShiftLeft(128,1), bitShiftRight(1,1), bitShiftRight(12,2), bitTest(3,1), bitTest(2,1), bitTest(2,0), bitShiftLeft(1,8), bitShiftRight(-8,1), bitShiftLeft(256,3), bitRotateLeft(1,-1), bitRotateRight(1,300), bitShiftLeft(1, toUInt32(9)), bitRotateRight(-256,300), bitRotateLeft(-100,3)
SELECT bitCount(double1), bitCount(toUInt32(double2)), bitTest(toUInt8(double2), 1), bitAnd(toUInt8(double2), 1) FROM events ORDER BY double5 LIMIT 10
-- WITH FILL, an extension
SELECT toStartOfInterval(timestamp, INTERVAL '20' MINUTE) AS bucket, count(), sum(double1), max(blob1), avg(double2) FROM events WHERE timestamp < toDateTime('2024-06-01 00:00:00') AND double1 >= 0 GROUP BY bucket ORDER BY bucket WITH FILL FROM toDateTime('2024-03-31 00:00:00') TO toDateTime('2024-03-31 06:00:00') STEP INTERVAL '20' MINUTE
SELECT toStartOfHour(timestamp) AS hour, count() AS n FROM events WHERE timestamp < toDateTime('2024-06-01 00:00:00') GROUP BY hour ORDER BY hour DESC WITH FILL FROM toDateTime('2024-03-31 05:00:00') TO toDateTime('2024-03-30 22:00:00') STEP INTERVAL '-1' HOUR
SELECT toStartOfHour(timestamp) AS hour, count() AS n FROM events GROUP BY hour ORDER BY hour WITH FILL STEP 86400 LIMIT 20 OFFSET 3
SELECT index1, toStartOfInterval(timestamp, INTERVAL '10' MINUTE) AS bucket, sum(_sample_interval) AS n FROM events WHERE timestamp > toDateTime('2024-03-30 00:00:00') AND timestamp < toDateTime('2024-06-01 00:00:00') GROUP BY index1, bucket ORDER BY index1, bucket WITH FILL STEP INTERVAL '10' MINUTE
SELECT index1, toStartOfInterval(timestamp, INTERVAL '30' MINUTE) AS bucket, count() FROM events WHERE timestamp < toDateTime('2024-06-01 00:00:00') GROUP BY index1, bucket ORDER BY index1 DESC, bucket WITH FILL FROM toDateTime('2024-03-31 01:00:00') TO toDateTime('2024-03-31 04:00:00') STEP INTERVAL '30' MINUTE
SELECT toStartOfMonth(timestamp) AS month, toStartOfMonth(timestamp) AS again, count() AS n, topK(1)(blob1) AS top FROM events GROUP BY month ORDER BY month WITH FILL FROM toStartOfMonth(toDateTime('2024-01-15 00:00:00')) TO toStartOfMonth(toDateTime('2025-02-01 00:00:00')) STEP INTERVAL '1' MONTH
SELECT toStartOfInterval(timestamp, INTERVAL '1' DAY, 'Europe/Berlin') AS day, count() FROM events WHERE timestamp < toDateTime('2024-06-01 00:00:00') GROUP BY day ORDER BY day WITH FILL FROM toDateTime('2024-03-29 00:00:00', 'Europe/Berlin') TO toDateTime('2024-04-03 00:00:00', 'Europe/Berlin') STEP INTERVAL '1' DAY
SELECT toStartOfInterval(timestamp, INTERVAL '1' HOUR, 'Europe/Berlin') AS hour, count() FROM events WHERE timestamp < toDateTime('2024-06-01 00:00:00') GROUP BY hour ORDER BY hour WITH FILL FROM toDateTime('2024-03-31 00:00:00', 'Europe/Berlin') TO toDateTime('2024-03-31 08:00:00', 'Europe/Berlin') STEP 3600
SELECT toUInt8(double2) AS number, count() AS n, 'x' AS text, true AS flag FROM events WHERE double2 >= 0 GROUP BY number ORDER BY number WITH FILL FROM 0 TO 20 STEP 3
SELECT count() AS n, 'x' AS text FROM events WHERE blob1 = 'none' GROUP BY blob1 ORDER BY n WITH FILL FROM 3 TO 6
SELECT toStartOfHour(timestamp) AS hour, index1 FROM events WHERE blob1 = 'none' ORDER BY index1, hour WITH FILL FROM toDateTime('2024-01-01 00:00:00') TO toDateTime('2024-01-01 03:00:00') STEP INTERVAL '1' HOUR
SELECT toStartOfHour(timestamp) AS hour, index1 FROM events WHERE blob1 = 'none' ORDER BY hour WITH FILL FROM toDateTime('2024-01-01 00:00:00') STEP INTERVAL '1' HOUR
SELECT toMonth(timestamp) - 12 AS number, count() FROM events GROUP BY number ORDER BY number DESC WITH FILL FROM 2 TO -12 LIMIT 9
SELECT sum(n) AS total, count() AS buckets FROM (SELECT toStartOfHour(timestamp) AS hour, count() AS n FROM events WHERE timestamp < toDateTime('2024-06-01 00:00:00') GROUP BY hour ORDER BY hour WITH FILL FROM toDateTime('2024-03-31 00:00:00') TO toDateTime('2024-04-01 00:00:00') STEP INTERVAL '1' HOUR)
SELECT 'z' AS kind, toStartOfDay(timestamp) AS day, count() FROM events WHERE timestamp > toDateTime('2024-03-30 00:00:00') AND timestamp < toDateTime('2024-06-01 00:00:00') GROUP BY day ORDER BY kind, day WITH FILL TO toDateTime('2024-04-04 00:00:00') STEP INTERVAL '1' DAY
SELECT toStartOfHour(timestamp) AS hour, blob2, count() AS n FROM events WHERE timestamp < toDateTime('2024-06-01 00:00:00') GROUP BY hour, blob2 ORDER BY hour WITH FILL FROM toDateTime('2024-03-31 00:00:00') STEP INTERVAL '1' HOUR, blob2 DESC
