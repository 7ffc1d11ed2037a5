-- Returns {units of a window in use, milliseconds for which it is closed}.
local state = read_window(KEYS[1], 4, 0)
return with_time({ state.used, math.ceil(math.max(0, state.closed - now) * 1000) })
