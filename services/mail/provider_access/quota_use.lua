-- Returns {units of the project's window in use, milliseconds for which it is closed}.
local limit, live_units, burst = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local state = read_window(KEYS[1], project_slots, limit, live_units, burst, 0)
return { state.used, math.ceil(math.max(0, state.closed - now) * 1000) }
