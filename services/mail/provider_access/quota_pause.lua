-- Leaves a bucket empty and closed for some seconds; a longer pause that it has already is not shortened.
local bucket = KEYS[1]
local seconds, keep = tonumber(ARGV[1]), tonumber(ARGV[2])

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local at = math.max(tonumber(redis.call('HGET', bucket, 'at') or 0), now + seconds)
redis.call('HSET', bucket, 'level', 0, 'at', at)
redis.call('EXPIRE', bucket, math.ceil(at - now) + keep)
return 1
