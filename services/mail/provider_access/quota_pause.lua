-- Closes a window for some seconds and sets its level to 0; does not shorten a longer pause.
-- An unknown window counts as used up, as the provider has just said.
local limit, live_units, burst, seconds = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local slots = ARGV[8] == '1' and project_slots or mailbox_slots

local paused = read_window(KEYS[1], slots, limit, live_units, burst, limit)
paused.level = math.min(paused.level, 0)
paused.closed = math.max(paused.closed, now + seconds)
write_window(paused)
return 1
