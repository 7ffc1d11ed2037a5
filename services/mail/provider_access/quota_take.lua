-- Settles earlier takes, then takes units from the window of each bucket and from the day's count.
-- Returns {1, units taken, slot in each window}, {0, milliseconds to wait, number of the bucket that lacks units (after
-- the last one: the day)}, {-1} if it needs the units that a lost count of a shared window owes, {-2} if the mailbox's
-- mark allows less.
--
-- `line` is the queue of mailboxes that wait for the first shared window, except for live mail. Its scores are the times
-- at which their units will be available, after those of the mailboxes ahead. A mailbox leaves those ahead their units,
-- as far as the window's level can hold them. A mailbox far behind asks again half-way, since those ahead may have left.
-- A mailbox that is late by `grace` seconds loses its place.
local count, units, mailbox, live = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7] == '1'
local more, batch = tonumber(ARGV[8]), tonumber(ARGV[9])
-- Each window has eight arguments: those of `read_window`, 1 if it is shared by all mailboxes, what a lost count owes
-- (-1: unknown), what the mark allows.
local first_window, per_window = 10, 8
local line, day_count, check_count = KEYS[count + 1], KEYS[count + 2], KEYS[count + 3]
local assumed_count = KEYS[count + 4]
-- The day has six: its limit (empty: none), units of a lost count, seconds left, units of checks allowed by now (-1: this
-- is none), of a lost count of checks, per second.
local day = first_window + per_window * count
local day_limit, day_assumed, day_left = tonumber(ARGV[day]), tonumber(ARGV[day + 1]), tonumber(ARGV[day + 2])
local checks_allowed, checks_assumed = tonumber(ARGV[day + 3]), tonumber(ARGV[day + 4])
local checks_per_second = tonumber(ARGV[day + 5])
local first_settled, is_check = day + 6, day_limit and checks_allowed >= 0
local longest_day_wait, shortest_wait, grace = 300, 0.5, 10

local windows, shared = {}, nil
for i = 1, count do
  local first = first_window + per_window * (i - 1)
  local is_shared, owes = ARGV[first + 5] == '1', tonumber(ARGV[first + 6])
  if owes < 0 and redis.call('EXISTS', KEYS[i]) == 0 then
    return with_time({ -1 })
  end
  local w = read_window(KEYS[i], first, math.max(0, owes))
  w.is_shared, w.allowed = is_shared, tonumber(ARGV[first + 7])
  windows[i] = w
  if is_shared and not shared then
    shared = w
  end
end
local shared_rate = shared and math.max(shared.rate, shared.room / shared.window / 4)
local longest_line = shared and 10 * shared.window

local day_used = day_limit and tonumber(redis.call('GET', day_count))
local checks_used = is_check and tonumber(redis.call('GET', check_count))
-- A new window is stored even without a take: the return of its owed units counts from now.
local is_changed = false
for _, w in ipairs(windows) do
  is_changed = is_changed or w.is_new
end

-- Settles earlier takes. Each has two arguments, units and the seconds since the call's end, negative if there was no
-- call, and then its slot in each window.
local function settle()
  local unused = 0
  for i = first_settled, #ARGV, 2 + count do
    local settled, ended_ago, action = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), finish
    if ended_ago < 0 then
      action, unused = give_back, unused + settled
    end
    for place, w in ipairs(windows) do
      action(w, tonumber(ARGV[i + 1 + place]), settled, ended_ago)
    end
    is_changed = true
  end
  if unused > 0 and day_used then
    day_used = redis.call('DECRBY', day_count, unused)
  end
end

-- Returns the mailbox's place in the line, or a new one at its end. Places too far ahead are from before the clock went
-- back, and are removed.
local function find_place()
  redis.call('ZREMRANGEBYSCORE', line, '-inf', now - grace)
  redis.call('ZREMRANGEBYSCORE', line, '(' .. now + longest_line + grace, '+inf')
  local place = tonumber(redis.call('ZSCORE', line, mailbox))
  if place then
    return place
  end
  local last = redis.call('ZRANGE', line, -1, -1, 'WITHSCORES')
  return math.min(now + longest_line, math.max(now, tonumber(last[2]) or now) + units / shared_rate)
end

-- Returns the shared level at which this mailbox may take its units: those of the mailboxes ahead come first.
local function needed_in_line(place)
  local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  if not first[1] or first[1] == mailbox then
    return units
  end
  local ahead = redis.call('ZRANK', line, mailbox) or redis.call('ZCARD', line)
  return math.min(batch + (place - first[2]) * shared_rate, batch * ahead + units)
end

local function wait_in_line()
  local place = find_place()
  local needed, half_way = needed_in_line(place), 0
  if needed > shared.burst then
    needed, half_way = shared.burst, math.min(place - now, shared.window) / 2
  end
  local wait = seconds_until(shared, needed, false)
  return wait > 0 and math.max(wait, half_way) or 0, place
end

local function wait_for_day()
  local wait = day_limit - (day_used or day_assumed) < units and longest_day_wait or 0
  if is_check then
    wait = math.max(wait, ((checks_used or checks_assumed) + units - checks_allowed) / checks_per_second)
  end
  return math.min(day_left, longest_day_wait, wait)
end

-- Returns the seconds until the mailbox's own windows have so many units.
local function own_wait(wanted, is_live)
  local wait = 0
  for _, w in ipairs(windows) do
    if not w.is_shared then
      wait = math.max(wait, seconds_until(w, wanted, is_live))
    end
  end
  return wait
end

-- Returns the seconds until the bucket with the longest wait has the units, and its number.
local function longest_wait()
  local wait, reason = 0, 0
  local function consider(seconds, i)
    if seconds > wait then
      wait, reason = seconds, i
    end
  end
  for i, w in ipairs(windows) do
    if live or w ~= shared then
      consider(seconds_until(w, units, live), i)
    else
      local seconds, place = wait_in_line()
      consider(seconds, i)
      if seconds > own_wait(units, live) then
        redis.call('ZADD', line, place, mailbox)
        redis.call('EXPIRE', line, math.ceil(longest_line + grace))
      else
        redis.call('ZREM', line, mailbox)
      end
    end
  end
  if day_limit then
    consider(wait_for_day(), count + 1)
  end
  return wait, reason
end

-- Returns the units to take in addition: up to `more` of those that remain, if no mailbox waits in line. Of what remains
-- to all, a tenth at most: others begin at the same time.
local function further_units()
  if more == 0 or redis.call('EXISTS', line) == 1 then
    return 0
  end
  local spare = day_limit and day_limit - day_used - units or more
  for _, w in ipairs(windows) do
    local remaining = math.min(w.level, w.room - w.used) - units
    spare = math.min(spare, w.is_shared and remaining / 10 or remaining)
    if w.allowed < w.limit then
      spare = math.min(spare, w.allowed - w.used - units)
    end
  end
  return math.max(0, math.min(more, math.floor(spare)))
end

local function count_day()
  if not day_used then
    redis.call('SET', day_count, day_assumed, 'EX', math.ceil(day_left))
    if day_assumed > 0 then
      redis.call('SET', assumed_count, day_assumed, 'EX', math.ceil(day_left))
    end
  end
  day_used = day_used or day_assumed
  units = units + further_units()
  redis.call('INCRBY', day_count, units)
  if is_check then
    if not checks_used then
      redis.call('SET', check_count, checks_assumed, 'EX', math.ceil(day_left))
    end
    redis.call('INCRBY', check_count, units)
  end
end

-- Takes the units if all counts have them.
local function take()
  for _, w in ipairs(windows) do
    if w.allowed < w.limit and w.used + units > w.allowed then
      return { -2 }
    end
  end
  local wait, reason = longest_wait()
  if wait > 0 then
    if not live then
      -- A turn for less than a batch is hardly worth its claim.
      wait = math.max(wait, math.min(shortest_wait, own_wait(batch, false)))
    end
    return { 0, math.ceil(wait * 1000), reason }
  end
  is_changed = true
  if day_limit then
    count_day()
  else
    units = units + further_units()
  end
  local taken = { 1, units }
  for i, w in ipairs(windows) do
    taken[i + 2] = spend(w, units)
  end
  return taken
end

settle()
local answer = units > 0 and take() or { 1, 0 }
if is_changed then
  for _, w in ipairs(windows) do
    write_window(w)
  end
end
return with_time(answer)
