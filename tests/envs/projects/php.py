"""A library of our own, tested with PHPUnit: data sets, output, a skip, and classes that only Composer's own
phpunit would load, since the configuration names no bootstrap.
"""

from __future__ import annotations

from projects.ruby import text

FILES = {
    "composer.json": text("""
        {
            "name": "shop/till",
            "require": {"php": ">=7.4", "ext-mbstring": "*", "never-published/at-all": "^1.0"},
            "require-dev": {"phpunit/phpunit": "^9.5"},
            "autoload": {"psr-4": {"Shop\\\\Till\\\\": "src/"}, "files": ["src/functions.php"]},
            "autoload-dev": {"psr-4": {"Shop\\\\Till\\\\Tests\\\\": "tests/"}}
        }
    """),
    "phpunit.xml.dist": text("""
        <?xml version="1.0"?>
        <phpunit colors="true" failOnRisky="true" stopOnFailure="true"
                 executionOrder="random">
          <testsuites><testsuite name="all"><directory>tests</directory></testsuite></testsuites>
        </phpunit>
    """),
    "src/functions.php": text("""
        <?php
        namespace Shop\\Till;
        function due(array $prices): int { return array_sum($prices); }
    """),
    "src/Till.php": text("""
        <?php
        namespace Shop\\Till;

        final class Till
        {
            public static function total(array $prices): int
            {
                return due($prices);
            }

            public static function change(int $paid, int $due): int
            {
                return $due - $paid;
            }
        }
    """),
    "tests/Counting.php": text("""
        <?php
        namespace Shop\\Till\\Tests;

        trait Counting
        {
            protected function count(): void
            {
                echo "counting\\n";
            }
        }
    """),
    "tests/TillTest.php": text("""
        <?php
        namespace Shop\\Till\\Tests;

        use PHPUnit\\Framework\\TestCase;
        use Shop\\Till\\Till;

        final class TillTest extends TestCase
        {
            public static function sums(): array
            {
                return ["one two" => [1, 2], [0, 3]];
            }

            /** @dataProvider sums */
            public function testTotal(int $a, int $b): void
            {
                echo "counting\\n";
                $this->assertSame(3, Till::total([$a, $b]));
            }

            public function testChange(): void
            {
                $this->assertSame(5, Till::change(15, 10));
            }

            public function testCard(): void
            {
                $this->markTestSkipped("no card reader");
            }

            public function testNothing(): void
            {
                Till::total([]);
            }
        }
    """),
}

_CLASS = r"Shop\Till\Tests\TillTest"
STATUSES = {
    f'{_CLASS}::testTotal with data set "one two"': "passed",
    f"{_CLASS}::testTotal with data set #0": "passed",
    f"{_CLASS}::testChange": "failed",
    f"{_CLASS}::testCard": "skipped",
    f"{_CLASS}::testNothing": "passed",
}
MESSAGES = {f"{_CLASS}::testChange": "-5 is identical to 5", f"{_CLASS}::testCard": "no card reader"}

LOG_COMMAND = ("phpunit", "--teamcity", "--order-by=default", "--bootstrap", "vendor/autoload.php",
               "--do-not-cache-result", "--no-configuration", "tests")  # fmt: skip
LOG_REPORT = "phpunit_log"

GOLD = {"src/Till.php": FILES["src/Till.php"].replace("$due - $paid", "$paid - $due")}
HIDDEN = {
    "tests/TillTest.php": FILES["tests/TillTest.php"].replace("[1, 2], [0, 3]", "[1, 2], [0, 3], [3, 0]"),
}
FAIL_TO_PASS = (f"{_CLASS}::testChange",)
PASS_TO_PASS = (f"{_CLASS}::testNothing", f"{_CLASS}::testTotal with data set #1")

BROKEN = {"src/functions.php": "<?php\nnamespace Shop\\Till;\nfunction due(array $prices: int\n"}
BROKEN_MISSING = tuple(STATUSES)
