-- Takes units for a mailbox: from its bucket, from the project's, and from the project's count of the day.
-- Answers {units taken, milliseconds to wait}, one of them 0.
--
-- A bucket fills by `rate` units per second up to `burst`, from the time `at` on; while that lies in the future it is
-- closed. Redis forgets it after `keep` seconds.
--
-- `line` orders the mailboxes that wait for the project's units for other than live mail, by the time at which their
-- units will have come, after those of all mailboxes ahead. A mailbox that is not the first leaves those ahead what they
-- wait for, as far as the bucket holds that. One far behind asks again half-way: those ahead may be gone by then. One
-- that is late by `grace` seconds has lost its place.
local mailbox_bucket, project_bucket, line, day_count = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local units, mailbox, live, grace = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
local mailbox_rate, mailbox_burst = tonumber(ARGV[5]), tonumber(ARGV[6])
local project_rate, project_burst = tonumber(ARGV[7]), tonumber(ARGV[8])
local keep = tonumber(ARGV[9])
local day_limit, day_assumed, day_left = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
-- Seconds after which to look again whether the day's count allows a call.
local longest_day_wait = 900

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local function read_bucket(key, rate, burst)
  local state = redis.call('HMGET', key, 'level', 'at')
  local level, at = tonumber(state[1]) or 0, tonumber(state[2]) or now
  return { key = key, rate = rate, level = math.min(burst, level + math.max(0, now - at) * rate), at = math.max(at, now) }
end

local function seconds_until(bucket, needed)
  return math.max(0, bucket.at - now + (needed - bucket.level) / bucket.rate)
end

local function write_bucket(bucket, taken)
  redis.call('HSET', bucket.key, 'level', bucket.level - taken, 'at', bucket.at)
  redis.call('EXPIRE', bucket.key, keep)
end

-- The mailbox's place in the line: the one it has, or the one behind the last.
local function find_place()
  redis.call('ZREMRANGEBYSCORE', line, '-inf', now - grace)
  local place = tonumber(redis.call('ZSCORE', line, mailbox))
  if place then
    return place
  end
  local last = redis.call('ZRANGE', line, -1, -1, 'WITHSCORES')
  return math.max(now, tonumber(last[2]) or now) + units / project_rate
end

-- What the project's bucket has to hold before this mailbox may take its units: those ahead come first.
local function needed_in_line(place)
  local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  if not first[1] or first[1] == mailbox then
    return units
  end
  local ahead = redis.call('ZRANK', line, mailbox) or redis.call('ZCARD', line)
  return math.min(mailbox_burst + (place - first[2]) * project_rate, mailbox_burst * ahead + units)
end

local mailbox_state = read_bucket(mailbox_bucket, mailbox_rate, mailbox_burst)
local project_state = read_bucket(project_bucket, project_rate, project_burst)

local place, needed, half_way = nil, units, 0
if not live then
  place = find_place()
  needed = needed_in_line(place)
  if needed > project_burst then
    needed, half_way = project_burst, (place - now) / 2
  end
end
local mailbox_wait = seconds_until(mailbox_state, units)
local project_wait = seconds_until(project_state, needed)
if project_wait > 0 then
  project_wait = math.max(project_wait, half_way)
end

local used = tonumber(redis.call('GET', day_count)) or day_assumed
local wait = math.max(mailbox_wait, project_wait)
if day_limit - used < units then
  wait = math.max(wait, math.min(day_left, longest_day_wait))
end
local taken = wait == 0 and units or 0

if not live then
  if project_wait > mailbox_wait then
    redis.call('ZADD', line, place, mailbox)
    redis.call('EXPIRE', line, keep)
  else
    redis.call('ZREM', line, mailbox)
  end
end
write_bucket(mailbox_state, taken)
write_bucket(project_state, taken)
redis.call('SET', day_count, used + taken, 'EX', math.ceil(day_left))
return { taken, math.ceil(wait * 1000) }
