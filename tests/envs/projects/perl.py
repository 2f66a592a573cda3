"""A distribution of our own: subtests, a skip, a test marked as expected to fail, and a file that dies."""

from __future__ import annotations

from projects.ruby import text

FILES = {
    "Makefile.PL": text("""
        use ExtUtils::MakeMaker;
        WriteMakefile(
            NAME => 'Till', VERSION => '0.1', PREREQ_PM => {'List::Util' => 0, 'Try::Tiny' => 0},
            TEST_REQUIRES => {'Test::More' => '0.98', 'Verifactory::Was::Never::Published' => 1},
        );
    """),
    "lib/Till.pm": text("""
        package Till;
        use strict;
        use warnings;
        use List::Util 'sum';
        use Try::Tiny;

        sub total { my @prices = @_; return try { sum(0, @prices) } catch { 0 } }

        sub change { my ($paid, $due) = @_; return $due - $paid }

        1;
    """),
    "t/till.t": text("""
        use strict;
        use warnings;
        use Test::More;
        use Till;

        is Till::total(1, 2, 3), 6, 'adds';
        is Till::change(15, 10), 5, 'gives change';
        SKIP: { skip 'no card reader', 1; fail 'reads cards' }
        TODO: { local $TODO = 'later'; fail 'lends' }
        subtest nothing => sub { is Till::total(), 0, 'is nothing' };
        diag 'done';
        done_testing;
    """),
    "t/none.t": "use Test::More skip_all => 'no network';\n",
}

STATUSES = {
    "t/till.t > adds": "passed",
    "t/till.t > gives change": "failed",
    "t/till.t > 3": "skipped",
    "t/till.t > lends": "xfailed",
    "t/till.t > nothing > is nothing": "passed",
    "t/none.t": "skipped",
}
MESSAGES = {"t/till.t > gives change": "got: '-5'", "t/till.t > 3": "no card reader"}

LOG_COMMAND = ("prove", "-v", "-l", "t")
LOG_REPORT = "tap"

GOLD = {"lib/Till.pm": FILES["lib/Till.pm"].replace("$due - $paid", "$paid - $due")}
HIDDEN = {"t/till.t": FILES["t/till.t"].replace("'adds'", "'adds up'")}
FAIL_TO_PASS = ("t/till.t > gives change",)
PASS_TO_PASS = ("t/till.t > adds up", "t/till.t > nothing > is nothing")

BROKEN = {"lib/Till.pm": "package Till;\nsub total { \n1;\n"}
BROKEN_MISSING = ("t/till.t > adds", "t/till.t > gives change")
