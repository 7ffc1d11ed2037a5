-- Closes a window for some seconds and leaves its level at 0; a longer pause that it has already is not shortened.
-- A window that Redis does not know counts as used: the provider says that it is.
local limit, live_units, burst, seconds = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local slots = ARGV[8] == '1' and project_slots or mailbox_slots

local paused = read_window(KEYS[1], slots, limit, live_units, burst, limit)
paused.level = math.min(paused.level, 0)
paused.closed = math.max(paused.closed, now + seconds)
write_window(paused)
return 1
