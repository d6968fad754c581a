-- Stands in for HAProxy: one look of haproxy.lua at servers in each state, and what it cuts off is printed.
--   UM_LUA=docker/haproxy.lua haproxy -c -f CONFIG (with lua-load of this file)
local function server(name, status, check_status)
    return {
        get_stats = function() return { status = status, check_status = check_status } end,
        shut_sess = function() print("cut off: " .. name) end,
    }
end

local looks = 0
core = {
    register_task = function(task) pcall(task) end,
    sleep = function()
        looks = looks + 1
        if looks > 1 then error("one look is enough") end
    end,
    backends = { unmask = { servers = {
        server("hangs", "DOWN", "L7TOUT"),
        server("hangs, and is being asked", "DOWN", "* L7TOUT"),
        server("answers again", "UP", "L7TOUT"),
        server("misses its first checks", "UP 1/3", "* L7TOUT"),
        server("drains", "NOLB", "L7OKC"),
        server("is gone", "DOWN", "L4CON"),
        server("its machine is gone", "DOWN", "* L4TOUT"),
        server("was never asked", "DOWN", nil),
    } } },
}
dofile(os.getenv("UM_LUA"))
print("looked")
