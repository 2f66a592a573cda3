"""A Maven project of our own: JUnit as Debian has not got it, a check that cannot be had, and a bug fix."""

from __future__ import annotations

from textwrap import dedent


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


_TEST = "src/test/java/org/example/CalcTest.java"

FILES = {
    "pom.xml": text("""
        <project xmlns="http://maven.apache.org/POM/4.0.0">
          <modelVersion>4.0.0</modelVersion>
          <parent>
            <groupId>org.example.nowhere</groupId><artifactId>parent</artifactId><version>7</version>
          </parent>
          <groupId>org.example</groupId>
          <artifactId>calc</artifactId>
          <version>1.0</version>
          <properties>
            <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
            <maven.compiler.source>8</maven.compiler.source>
            <maven.compiler.target>8</maven.compiler.target>
          </properties>
          <dependencies>
            <dependency>
              <groupId>junit</groupId><artifactId>junit</artifactId><version>4.11</version>
              <scope>test</scope>
            </dependency>
            <dependency>
              <groupId>org.example.nowhere</groupId><artifactId>idle</artifactId><version>2</version>
            </dependency>
            <dependency>
              <groupId>org.hamcrest</groupId><artifactId>hamcrest-core</artifactId><scope>test</scope>
            </dependency>
          </dependencies>
          <build>
            <plugins>
              <plugin>
                <groupId>org.example.nowhere</groupId><artifactId>unversioned-maven-plugin</artifactId>
              </plugin>
              <plugin>
                <groupId>org.example.nowhere</groupId>
                <artifactId>checks-maven-plugin</artifactId>
                <version>1.2</version>
                <executions><execution><phase>validate</phase><goals><goal>check</goal></goals></execution></executions>
              </plugin>
            </plugins>
          </build>
        </project>
    """),
    "src/main/java/org/example/Calc.java": text("""
        package org.example;

        public final class Calc {
            public static int add(int... numbers) {
                int sum = 0;
                for (int i = 0; i < numbers.length - 1; i++) {
                    sum += numbers[i];
                }
                return sum;
            }
        }
    """),
    _TEST: text("""
        package org.example;

        import static org.junit.Assert.assertEquals;

        import org.junit.Ignore;
        import org.junit.Test;

        public class CalcTest {
            @Test
            public void nothing() {
                assertEquals(0, Calc.add());
            }

            @Test
            public void wrong() {
                assertEquals(3, Calc.add(1, 1));
            }

            @Test
            public void stranger() {
                throw new IllegalStateException("never seen");
            }

            @Ignore("not today")
            @Test
            public void later() {}
        }
    """),
}

STATUSES = {
    "org.example.CalcTest::nothing": "passed",
    "org.example.CalcTest::wrong": "failed",
    "org.example.CalcTest::stranger": "error",
    "org.example.CalcTest::later": "skipped",
}
MESSAGES = {
    "org.example.CalcTest::wrong": "expected:<3>",
    "org.example.CalcTest::stranger": "never seen",
    "org.example.CalcTest::later": "not today",
}

# Surefire tells the same on the way.
LOG_COMMAND = (
    "mvn", "-B", "-o", "-Dmaven.repo.local=/opt/cache/m2", "-Dsurefire.useFile=false",
    "-Dsurefire.reportFormat=plain", "compiler:compile", "compiler:testCompile", "surefire:test",
)  # fmt: skip
LOG_REPORT = "surefire_log"

GOLD = {
    "src/main/java/org/example/Calc.java": FILES["src/main/java/org/example/Calc.java"].replace(
        "numbers.length - 1", "numbers.length"
    )
}
HIDDEN = {
    _TEST: FILES[_TEST].replace("assertEquals(3, Calc.add(1, 1));", "assertEquals(2, Calc.add(1, 1));"),
    "src/test/java/org/example/MoreTest.java": text("""
        package org.example;

        import static org.junit.Assert.assertEquals;

        import org.junit.Test;

        public class MoreTest {
            @Test
            public void more() {
                assertEquals(6, Calc.add(1, 2, 3));
            }
        }
    """),
}
FAIL_TO_PASS = ("org.example.CalcTest::wrong", "org.example.MoreTest::more")
PASS_TO_PASS = ("org.example.CalcTest::nothing",)

BROKEN = {"src/main/java/org/example/Calc.java": "package org.example;\n\npublic final class Calc {\n"}
BROKEN_MISSING = ("org.example.CalcTest::nothing", "org.example.CalcTest::wrong")
