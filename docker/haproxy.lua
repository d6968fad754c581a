-- Cuts off a replica that hangs: it takes connections and its checks time out (L7TOUT). What waits there
-- without an answer is then sent to another replica, as if it had died; streams that had begun break.
-- Replicas that drain or are gone are left alone: their connections end by themselves.
core.register_task(function()
    while true do
        core.sleep(1)
        for _, server in pairs(core.backends["unmask"].servers) do
            local now = server:get_stats()
            if now["status"] == "DOWN" and now["check_status"] == "L7TOUT" then
                server:shut_sess()
            end
        end
    end
end)
