"""A gem of our own, tested with Minitest: tests, specs, a skip, and a test that prints before it ends."""

from __future__ import annotations

from textwrap import dedent


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


FILES = {
    "till.gemspec": text("""
        Gem::Specification.new do |spec|
          spec.name = "till"
          spec.version = "0.1"
          spec.required_ruby_version = ">= 2.5"
          spec.add_development_dependency "minitest", "~> 5.0"
          spec.add_development_dependency "verifactory-was-never-published"
        end
    """),
    "Gemfile": 'source "https://example.org"\ngemspec\n',
    "lib/till.rb": text("""
        module Till
          def self.total(prices)
            prices.sum
          end

          def self.change(paid, due)
            due - paid
          end
        end
    """),
    "test/helper.rb": text("""
        require "bundler/setup"
        require "minitest/autorun"
        require "till"
    """),
    "test/test_till.rb": text("""
        require "helper"

        class TestTill < Minitest::Test
          def test_total
            print "counting"
            assert_equal 6, Till.total([1, 2, 3])
          end

          def test_change
            assert_equal 5, Till.change(15, 10)
          end

          def test_card
            skip "no card reader"
          end
        end
    """),
    "test/spec_till.rb": text("""
        require "helper"

        describe Till do
          it "adds = up" do
            _(Till.total([])).must_equal 0
          end
        end
    """),
}

STATUSES = {
    "TestTill#test_total": "passed",
    "TestTill#test_change": "failed",
    "TestTill#test_card": "skipped",
    "Till#adds = up": "passed",
}
MESSAGES = {"TestTill#test_change": "Actual: -5", "TestTill#test_card": "no card reader"}

LOG_COMMAND = ("ruby", "-Ilib", "-Itest", "-e", "ARGV.shift(2).each { |f| require f }",
               "./test/spec_till.rb", "./test/test_till.rb", "--verbose")  # fmt: skip
LOG_REPORT = "minitest"

GOLD = {"lib/till.rb": FILES["lib/till.rb"].replace("due - paid", "paid - due")}
HIDDEN = {
    "test/test_till.rb": FILES["test/test_till.rb"].replace(
        "  def test_card", "  def test_nothing\n    assert_equal 0, Till.total([])\n  end\n\n  def test_card"
    ),
}
FAIL_TO_PASS = ("TestTill#test_change",)
PASS_TO_PASS = ("TestTill#test_total", "Till#adds = up")

BROKEN = {"lib/till.rb": "module Till\n  def self.total(prices\nend\n"}
BROKEN_MISSING = tuple(STATUSES)
