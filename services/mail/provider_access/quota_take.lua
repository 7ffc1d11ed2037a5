-- Settles earlier takes, then takes units for a mailbox from its window, the project's window and the day's count.
-- Returns {1, slot of the mailbox, slot of the project, units taken}, {0, milliseconds to wait, number of the reason},
-- {-1} if it needs the units that a lost count of the project owes, {-2} if the mailbox's mark allows less.
--
-- `line` is the queue of mailboxes that wait for the project's units, except for live mail. Its scores are the times at
-- which their units will be available, after those of the mailboxes ahead. A mailbox leaves those ahead their units, as
-- far as the window's level can hold them. A mailbox far behind asks again half-way, since those ahead may have left. A
-- mailbox that is late by `grace` seconds loses its place.
local mailbox_key, project_key, line, day_count = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local check_count = KEYS[5]
local units, mailbox, live = tonumber(ARGV[4]), ARGV[5], ARGV[6] == '1'
local mailbox_limit, mailbox_live, mailbox_burst = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local project_limit, project_live, project_burst = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local batch, marked = tonumber(ARGV[13]), tonumber(ARGV[14])
local mailbox_owes, project_owes = tonumber(ARGV[15]), tonumber(ARGV[16])
local day_limit, day_assumed, day_left = tonumber(ARGV[17]), tonumber(ARGV[18]), tonumber(ARGV[19])
local checks_allowed, checks_assumed, checks_per_second = tonumber(ARGV[20]), tonumber(ARGV[21]), tonumber(ARGV[22])
local more = tonumber(ARGV[23])
local first_settled, is_check = 24, checks_allowed >= 0
local grace, longest_line, longest_day_wait, shortest_wait = 10, 10 * window, 300, 0.5

if project_owes < 0 and redis.call('EXISTS', project_key) == 0 then
  return { -1 }
end
local mailbox_window = read_window(mailbox_key, mailbox_slots, mailbox_limit, mailbox_live, mailbox_burst, mailbox_owes)
local project_window = read_window(
  project_key, project_slots, project_limit, project_live, project_burst, math.max(0, project_owes)
)
local project_rate = math.max(project_window.rate, project_window.room / window / 4)

local day_used = tonumber(redis.call('GET', day_count))
local checks_used = is_check and tonumber(redis.call('GET', check_count))
-- A new window is stored even without a take: the return of its owed units counts from now.
local is_changed = mailbox_window.is_new or project_window.is_new

-- Settles earlier takes. Each has four arguments: both slots, units, and the seconds since the call's end, negative
-- if there was no call.
local function settle()
  local unused = 0
  for i = first_settled, #ARGV, 4 do
    local settled, ended_ago, action = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), finish
    if ended_ago < 0 then
      action, unused = give_back, unused + settled
    end
    action(mailbox_window, tonumber(ARGV[i]), settled, ended_ago)
    action(project_window, tonumber(ARGV[i + 1]), settled, ended_ago)
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
  return math.min(now + longest_line, math.max(now, tonumber(last[2]) or now) + units / project_rate)
end

-- Returns the project's level at which this mailbox may take its units: those of the mailboxes ahead come first.
local function needed_in_line(place)
  local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  if not first[1] or first[1] == mailbox then
    return units
  end
  local ahead = redis.call('ZRANK', line, mailbox) or redis.call('ZCARD', line)
  return math.min(batch + (place - first[2]) * project_rate, batch * ahead + units)
end

local function wait_for_project()
  if live then
    return seconds_until(project_window, units, true)
  end
  local place = find_place()
  local needed, half_way = needed_in_line(place), 0
  if needed > project_burst then
    needed, half_way = project_burst, math.min(place - now, window) / 2
  end
  local wait = seconds_until(project_window, needed, false)
  return wait > 0 and math.max(wait, half_way) or 0, place
end

local function wait_for_day()
  local wait = day_limit - (day_used or day_assumed) < units and longest_day_wait or 0
  if is_check then
    wait = math.max(wait, ((checks_used or checks_assumed) + units - checks_allowed) / checks_per_second)
  end
  return math.min(day_left, longest_day_wait, wait)
end

local function keep_place(place, waits)
  if waits then
    redis.call('ZADD', line, place, mailbox)
    redis.call('EXPIRE', line, math.ceil(longest_line + grace))
  else
    redis.call('ZREM', line, mailbox)
  end
end

local function longest(waits)
  local wait, reason = 0, 0
  for i = 1, #waits do
    if waits[i] > wait then
      wait, reason = waits[i], i
    end
  end
  return wait, reason
end

-- Returns how many units remain in a window for calls other than live ones.
local function remaining(w)
  return math.min(w.level, w.room - w.used) - units
end

-- Returns the units to take in addition: up to `more` of those that remain, if no mailbox waits for the project's. Of
-- what remains to the project, a tenth at most: others begin at the same time.
local function further_units()
  if more == 0 or redis.call('EXISTS', line) == 1 then
    return 0
  end
  local spare = math.min(day_limit - day_used - units, remaining(mailbox_window), remaining(project_window) / 10)
  if marked < mailbox_limit then
    spare = math.min(spare, marked - mailbox_window.used - units)
  end
  return math.max(0, math.min(more, math.floor(spare)))
end

-- Takes the units if all counts have them.
local function take()
  if marked < mailbox_limit and mailbox_window.used + units > marked then
    return { -2 }
  end
  local mailbox_wait = seconds_until(mailbox_window, units, live)
  local project_wait, place = wait_for_project()
  if not live then
    keep_place(place, project_wait > mailbox_wait)
  end
  local wait, reason = longest({ mailbox_wait, project_wait, wait_for_day() })
  if wait > 0 then
    if not live then
      -- A turn for less than a batch is hardly worth its claim.
      wait = math.max(wait, math.min(shortest_wait, seconds_until(mailbox_window, batch, false)))
    end
    return { 0, math.ceil(wait * 1000), reason }
  end
  is_changed = true
  if not day_used then
    redis.call('SET', day_count, day_assumed, 'EX', math.ceil(day_left))
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
  return { 1, spend(mailbox_window, units), spend(project_window, units), units }
end

settle()
local answer = units > 0 and take() or { 1, 0, 0, 0 }
if is_changed then
  write_window(mailbox_window)
  write_window(project_window)
end
return answer
