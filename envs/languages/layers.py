"""What the images of all languages have in common, as lines of a Dockerfile (docs/design.md, the environment
image).

`/app` is the base tree with one commit. Code of the project or of its dependencies runs during a build only
as `agent`, never as root, so that nothing of it can reach `/usr/bin/python3`, git or the repository that the
commit is made from. Files that the project's own build rewrote are put back as they were; what it added is
excluded from git by path.
"""

from __future__ import annotations

PACKAGES = ("ca-certificates", "git", "libfaketime")

AS_AGENT = "setpriv --reuid=agent --regid=agent --clear-groups env HOME=/build"
NO_PROCESS_LEFT = "{ setpriv --reuid=agent --regid=agent --clear-groups sh -c 'kill -9 -1'; true; }"
_GIT = "git --git-dir=/opt/app.git --work-tree=/app"
_WHO = "GIT_{0}_NAME=upstream GIT_{0}_EMAIL=upstream@localhost GIT_{0}_DATE='2000-01-01T00:00:00Z'"

ACCOUNTS = (
    "groupadd -g 1000 agent && useradd -m -u 1000 -g 1000 -s /bin/bash agent",
    "groupadd -g 1001 tester && useradd -m -u 1001 -g 1001 -s /bin/bash tester",
    "git config --system --add safe.directory /app",
)

# The tree as it came in becomes the one commit, before anything of it runs.
COMMIT = (
    "install -d -m 700 /opt/app.git",
    "install -d -o agent -g agent /build",
    f"{_GIT} init -q -b main --template=",
    "mkdir /opt/app.git/info",
    # Content goes in and comes out byte for byte, whatever attributes the tree asks for.
    "printf '* -text -ident -filter -working-tree-encoding\\n' > /opt/app.git/info/attributes",
    f"{_GIT} add -A -f",
    f"{_WHO.format('AUTHOR')} {_WHO.format('COMMITTER')} {_GIT} commit -q --allow-empty -m 'Base'",
    "chown agent:agent /app",
)

# After the build, when no process of it is left: its traces in the tree are put back or excluded.
SETTLE = (
    f"{_GIT} checkout -q -f -- .",
    f"{_GIT} ls-files --others --directory --exclude-standard > /opt/app.git/others",
    "sed 's,^,/,' /opt/app.git/others > /opt/app.git/info/exclude",
    "rm -rf /opt/app.git/others /app/.git",
    f"{{ {_GIT} config --unset core.worktree || true; }}",
    "mv /opt/app.git /app/.git",
    "chmod 755 /app/.git",
    "find /app ! -user agent -exec chown -h agent:agent {} +",
    "rm -rf /build /tmp/* /var/tmp/*",
)


def apt(packages: tuple[str, ...]) -> str:
    """Install Debian packages, and leave nothing of apt behind."""
    return (
        "apt-get update && \\\n"
        "    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n"
        f"    {' '.join(packages)} && \\\n"
        "    rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt/* /var/log/*.log"
    )


def steps(*lines: str) -> str:
    """Shell commands that each need the one before, as one layer."""
    return " && \\\n    ".join(lines)
