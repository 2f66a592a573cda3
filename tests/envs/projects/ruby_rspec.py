"""The gem of `ruby`, tested with RSpec: groups, a pending example, and output between the examples."""

from __future__ import annotations

from projects import ruby
from projects.ruby import text

LANGUAGE = "ruby"

FILES = {
    "till.gemspec": ruby.FILES["till.gemspec"].replace('"minitest", "~> 5.0"', '"rspec"'),
    "lib/till.rb": ruby.FILES["lib/till.rb"],
    ".rspec": "--require spec_helper\n--order rand\n",
    "spec/spec_helper.rb": 'require "till"\n',
    "spec/till_spec.rb": text("""
        RSpec.describe Till do
          it "adds" do
            puts "counting"
            expect(Till.total([1, 2])).to eq 3
          end

          describe ".change" do
            it("is what is left") { expect(Till.change(15, 10)).to eq 5 }
            it("takes cards") { skip "no card reader" }
          end
        end
    """),
}

STATUSES = {
    "spec/till_spec.rb::Till adds": "passed",
    "spec/till_spec.rb::Till.change is what is left": "failed",
    "spec/till_spec.rb::Till.change takes cards": "skipped",
}
MESSAGES = {
    "spec/till_spec.rb::Till.change is what is left": "got: -5",
    "spec/till_spec.rb::Till.change takes cards": "no card reader",
}

LOG_COMMAND = ("rspec", "-I", "lib", "--format", "json")
LOG_REPORT = "rspec_json"

GOLD = ruby.GOLD
HIDDEN = {
    "spec/till_spec.rb": FILES["spec/till_spec.rb"].replace('it "adds" do', 'it "adds up" do'),
}
FAIL_TO_PASS = ("spec/till_spec.rb::Till.change is what is left",)
PASS_TO_PASS = ("spec/till_spec.rb::Till adds up",)

BROKEN = ruby.BROKEN
BROKEN_MISSING = tuple(STATUSES)
