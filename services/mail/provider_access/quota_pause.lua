-- Closes a window for some seconds and sets its level to 0; does not shorten a longer pause.
-- An unknown window counts as used up, as the provider has just said.
local paused = read_window(KEYS[1], 5, tonumber(ARGV[7]))
paused.level = math.min(paused.level, 0)
paused.closed = math.max(paused.closed, now + tonumber(ARGV[4]))
write_window(paused)
return with_time(1)
