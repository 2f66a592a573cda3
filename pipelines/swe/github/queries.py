"""The GraphQL that is asked. Every list is bounded: a batch stays far below GitHub's 500,000 nodes."""

from __future__ import annotations

from collections.abc import Sequence

LISTED_AT_A_TIME = 100
DETAILED_AT_A_TIME = 20

_LISTED = """
fragment Listed on PullRequest {
  number title url updatedAt mergedAt baseRefName additions deletions changedFiles
  author { __typename login }
  mergeCommit { oid parents(first: 2) { nodes { oid } } }
}
"""

# A change of more than 100 files is judged by its trees alone.
_DETAILED = """
fragment Detailed on PullRequest {
  body
  labels(first: 20) { nodes { name } }
  closingIssuesReferences(first: 5) {
    nodes {
      number title body url
      repository { nameWithOwner }
      labels(first: 20) { nodes { name } }
    }
  }
  reviews(first: 10) {
    nodes {
      state body
      author { __typename login }
      comments(first: 10) { nodes { path originalLine body } }
    }
  }
  commits(first: 50) { totalCount nodes { commit { oid message } } }
  files(first: 100) { totalCount nodes { path } }
}
"""

LISTING = (
    """query Listing($owner: String!, $name: String!, $first: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    isEmpty
    pullRequests(
      states: [MERGED], first: $first, after: $after, orderBy: {field: UPDATED_AT, direction: DESC}
    ) {
      pageInfo { endCursor hasNextPage }
      nodes { ...Listed }
    }
  }
}
"""
    + _LISTED
)


def details(numbers: Sequence[int]) -> str:
    """A query for pull requests by number, each under the alias `p<number>`."""
    asked = "\n".join(
        f"    p{number:d}: pullRequest(number: {number:d}) {{ ...Listed ...Detailed }}" for number in numbers
    )
    return (
        "query Details($owner: String!, $name: String!) {\n"
        f"  repository(owner: $owner, name: $name) {{\n{asked}\n  }}\n}}\n{_LISTED}{_DETAILED}"
    )
