"""A rock of our own, tested with busted: nested groups, a pending test, and output before an outcome."""

from __future__ import annotations

from projects.ruby import text

FILES = {
    "till-0.1-1.rockspec": text("""
        package = "till"
        version = "0.1-1"
        dependencies = { "lua >= 5.1, < 5.5", "never-published" }
        build = { type = "builtin", modules = { till = "src/till.lua" } }
    """),
    "src/till.lua": text("""
        local till = {}

        function till.total(prices)
          local sum = 0
          for _, price in ipairs(prices) do sum = sum + price end
          return sum
        end

        function till.change(paid, due) return due - paid end

        return till
    """),
    "spec/till_spec.lua": text("""
        local till = require "till"

        describe("till", function()
          it("adds", function()
            io.write("counting ")
            assert.are.equal(6, till.total{1, 2, 3})
          end)

          describe("change", function()
            it("is what is left", function() assert.are.equal(5, till.change(15, 10)) end)
            pending("in coins")
          end)
        end)
    """),
}

STATUSES = {
    "spec/till_spec.lua::till adds": "passed",
    "spec/till_spec.lua::till change is what is left": "failed",
    "spec/till_spec.lua::till change in coins": "skipped",
}
MESSAGES = {"spec/till_spec.lua::till change is what is left": "(number) -5"}

LOG_COMMAND = ("busted", "--verbose", "-o", "TAP", "spec")
LOG_REPORT = "busted"

GOLD = {"src/till.lua": FILES["src/till.lua"].replace("due - paid", "paid - due")}
HIDDEN = {"spec/till_spec.lua": FILES["spec/till_spec.lua"].replace('"adds"', '"adds up"')}
FAIL_TO_PASS = ("spec/till_spec.lua::till change is what is left",)
PASS_TO_PASS = ("spec/till_spec.lua::till adds up",)

BROKEN = {"src/till.lua": "local till = {\n"}
BROKEN_MISSING = tuple(STATUSES)
