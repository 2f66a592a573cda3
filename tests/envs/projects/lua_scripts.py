"""One Lua file of our own, tested by a script that knows no framework, ends with status 0 and wants to be run
from its own folder.
"""

from __future__ import annotations

from projects import lua
from projects.ruby import text

LANGUAGE = "lua"

FILES = {
    "till.lua": lua.FILES["src/till.lua"],
    "test/test.lua": text("""
        local till = loadfile("../till.lua")()

        local function test(name, body)
          local ok, err = pcall(body)
          if ok then print("[pass] " .. name) else print("[fail] " .. name .. " : " .. err) end
        end

        test("adds", function() assert(till.total{1, 2, 3} == 6) end)
        test("gives change", function() assert(till.change(15, 10) == 5, "wrong change") end)
        print("[skip] reads cards")
    """),
}

STATUSES = {
    "test/test.lua": "passed",
    "test/test.lua::adds": "passed",
    "test/test.lua::gives change": "failed",
    "test/test.lua::reads cards": "skipped",
}
MESSAGES = {"test/test.lua::gives change": "wrong change"}

LOG_COMMAND = ("sh", "-c", 'cd test && echo "verifactory: script test/test.lua" && lua5.1 test.lua && '
               'echo "verifactory: status 0 test/test.lua"')  # fmt: skip
LOG_REPORT = "scripts"

GOLD = {"till.lua": FILES["till.lua"].replace("due - paid", "paid - due")}
HIDDEN = {"test/test.lua": FILES["test/test.lua"].replace('"adds"', '"adds up"')}
FAIL_TO_PASS = ("test/test.lua::gives change",)
PASS_TO_PASS = ("test/test.lua", "test/test.lua::adds up")

BROKEN = {"till.lua": "local till = {\n"}
BROKEN_MISSING = ("test/test.lua::adds", "test/test.lua::gives change", "test/test.lua::reads cards")
