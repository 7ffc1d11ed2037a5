-- Sliding windows of what buckets count; the first part of each quota script.
--
-- A call may reach the provider at any moment between its take and its end. Its units count from the take until one
-- window after the end, so that no window of the provider's clock exceeds the limit. A call without a reported end
-- counts as ended `longest_call` seconds after its take.
--
-- Slots are short periods, numbered since 1970: units in slot n come back when slot n begins.
-- A stored window is {seen, closed, level, used, back, open}, packed:
--   seen    time of the last write, to which the other values refer
--   closed  end of the provider's pause
--   level   units that may be spent at once at the time `seen`; negative after live mail has spent units ahead of time
--   used    the sum of the units below
--   back    {slot, units, slot, units, ...}, ascending: of calls that have ended
--   open    the same: of calls in flight, each in the slot in which it comes back if its end is never reported
local longest_call, forget_after = tonumber(ARGV[2]), 3600
local longest_gap, nearly_full = 1 / 6, 0.8

-- Longest time in seconds that a caller's request can be under way.
local longest_request = 1

-- Returns the time, and by how many seconds the clock has jumped ahead. A jump would give units back early: the last key
-- holds how far the clock is ahead of the time that counts. ARGV[1] is the time for tests that set it; ARGV[3] the time
-- that callers expect, empty for one that has had no answer yet.
local function read_clock()
  local time, expected = tonumber(ARGV[1]), tonumber(ARGV[3])
  if not time then
    local parts = redis.call('TIME')
    time = parts[1] + parts[2] / 1000000
  end
  local ahead = tonumber(redis.call('GET', KEYS[#KEYS])) or 0
  local jump = expected and time - ahead - expected or 0
  if jump <= longest_request then
    return time - ahead, 0
  end
  redis.call('SET', KEYS[#KEYS], ahead + jump)
  return expected, jump
end

local now, jump = read_clock()

-- Returns the answer of a script with the time in milliseconds and the jump.
local function with_time(answer)
  return { answer, math.floor(now * 1000), math.ceil(jump * 1000) }
end

local function slot_of_return(w, ended_at)
  return math.ceil((ended_at + w.window) / w.slot_seconds)
end

local function add(entries, slot, units)
  local last = #entries
  if last > 0 and entries[last - 1] >= slot then
    entries[last] = entries[last] + units
    return entries[last - 1]
  end
  entries[last + 1], entries[last + 2] = slot, units
  return slot
end

local function remove(entries, slot, units)
  for i = 1, #entries, 2 do
    if entries[i] == slot and entries[i + 1] >= units then
      entries[i + 1] = entries[i + 1] - units
      if entries[i + 1] == 0 then
        table.remove(entries, i)
        table.remove(entries, i)
      end
      return true
    end
  end
  return false
end

-- Removes the units that have come back.
local function take_back(w, entries)
  local returned = 0
  while entries[returned + 1] and entries[returned + 1] <= w.this_slot do
    w.used = w.used - entries[returned + 2]
    returned = returned + 2
  end
  return returned == 0 and entries or { unpack(entries, returned + 1) }
end

-- Shifts the window's times after the clock went back, so that no wait becomes longer. The window must be written, or
-- the time that passes from now on would not count.
local function follow_clock(w)
  local back = w.seen - now
  if back <= 0 then
    return
  end
  local slots = math.floor(back / w.slot_seconds)
  for _, entries in ipairs({ w.back, w.open }) do
    for i = 1, #entries, 2 do
      entries[i] = entries[i] - slots
    end
  end
  w.seen, w.closed, w.is_new = now, w.closed - back, true
end

-- A bucket whose units may all be spent at once is not paced: its level is what is free.
local function is_paced(w)
  return w.burst < w.room
end

-- Returns the units per second by which the level rises: the full rate, or less if that would use up the free units
-- long before others come back, as after a burst. Short gaps keep the full rate: units spread over them would not be
-- used up before others come back.
local function even_rate(w)
  local full = w.room / w.window
  local free, rate = w.room - w.used, full
  if free > w.room * nearly_full then
    return full
  end
  for i = 1, #w.back, 2 do
    local seconds = w.back[i] * w.slot_seconds - now
    if seconds > w.window * longest_gap then
      rate = math.min(rate, free / seconds)
    end
    free = free + w.back[i + 1]
  end
  return rate > full * nearly_full and full or math.max(rate, full / 20)
end

-- Returns the current window of the bucket that the five arguments from `first` on describe: seconds, number of slots,
-- limit, the part kept for live mail, burst. `room` is what is not kept for live mail; an unknown window counts `owed`
-- units as used.
local function read_window(key, first, owed)
  local packed = redis.call('GET', key)
  local w = { key = key, window = tonumber(ARGV[first]), limit = tonumber(ARGV[first + 2]) }
  w.live_units, w.burst = tonumber(ARGV[first + 3]), tonumber(ARGV[first + 4])
  w.room, w.slot_seconds = w.limit - w.live_units, w.window / ARGV[first + 1]
  w.this_slot = math.floor(now / w.slot_seconds)
  if packed then
    w.seen, w.closed, w.level, w.used, w.back, w.open = unpack(cmsgpack.unpack(packed))
    follow_clock(w)
  else
    w.seen, w.closed, w.used, w.back, w.open = now, now - w.window, owed, {}, {}
    w.level = math.max(0, math.min(w.burst, w.room - owed))
    if owed > 0 then
      add(w.back, slot_of_return(w, now), owed)
    end
    w.is_new = true
  end
  w.back, w.open = take_back(w, w.back), take_back(w, w.open)
  w.rate = even_rate(w)
  w.level = math.min(w.burst, w.level + math.max(0, now - math.max(w.seen, w.closed)) * w.rate)
  if not is_paced(w) then
    w.level = w.room - w.used
  end
  w.seen = now
  return w
end

local function write_window(w)
  local last = math.max(w.back[#w.back - 1] or 0, w.open[#w.open - 1] or 0) * w.slot_seconds
  local keep = math.max(last, w.closed, now) - now + w.window + forget_after
  redis.call('SET', w.key, cmsgpack.pack({ w.seen, w.closed, w.level, w.used, w.back, w.open }), 'PX', math.ceil(keep * 1000))
end

-- Returns the seconds until the window has room for this many more units.
local function seconds_until_room(w, units, room)
  local excess = w.used + units - room
  if excess <= 0 then
    return 0
  end
  for i = 1, #w.back, 2 do
    excess = excess - w.back[i + 1]
    if excess <= 0 then
      return w.back[i] * w.slot_seconds - now
    end
  end
  -- Calls in flight end soon.
  return w.window
end

local function seconds_until(w, units, live)
  local at_once, room = live and w.live_units or 0, live and w.limit or w.room
  local paced
  if is_paced(w) then
    paced = math.max(0, w.closed - now) + math.max(0, units - at_once - w.level) / w.rate
  else
    -- No burst follows a pause.
    paced = w.closed - now + math.max(0, units - at_once) * w.window / w.room
  end
  return math.max(paced, seconds_until_room(w, units, room))
end

local function spend(w, units)
  w.level, w.used = w.level - units, w.used + units
  return add(w.open, slot_of_return(w, now + longest_call), units)
end

-- Records ended calls. Their units may be missing from a count that was lost meanwhile; they are counted again.
local function finish(w, slot, units, ended_ago)
  if slot <= w.this_slot then
    return
  end
  if not remove(w.open, slot, units) then
    w.used = w.used + units
  end
  add(w.back, slot_of_return(w, now - ended_ago), units)
end

local function give_back(w, slot, units)
  if remove(w.open, slot, units) then
    w.used, w.level = w.used - units, math.min(w.burst, w.level + units)
  end
end
