-- Gives units back that no call was made for: to the mailbox's bucket, to the project's, and to the day.
-- A bucket that was lost or closed meanwhile stays as it is: it owes nothing.
local mailbox_bucket, project_bucket, day_count = KEYS[1], KEYS[2], KEYS[3]
local units, mailbox_burst, project_burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local function give_back(bucket, burst)
  local state = redis.call('HMGET', bucket, 'level', 'at')
  if state[1] and tonumber(state[2]) <= now then
    redis.call('HSET', bucket, 'level', math.min(burst, tonumber(state[1]) + units))
  end
end

give_back(mailbox_bucket, mailbox_burst)
give_back(project_bucket, project_burst)
if redis.call('EXISTS', day_count) == 1 then
  redis.call('DECRBY', day_count, units)
end
return 1
