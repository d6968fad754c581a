-- Cuts off a replica that stands still (stopped, or its machine frozen): it takes connections and its checks
-- time out (L7TOUT; "* L7TOUT" while the next one runs). What waits there without an answer is then sent to
-- another replica, as if it had died (HAProxy 3.0 closes its connection); streams that had begun break.
-- Replicas that drain or are gone are left alone: their connections end by themselves.
core.register_task(function()
    while true do
        core.sleep(1)
        for _, server in pairs(core.backends["unmask"].servers) do
            local now = server:get_stats()
            if now["status"] == "DOWN" and string.find(now["check_status"] or "", "L7TOUT", 1, true) then
                server:shut_sess()
            end
        end
    end
end)
