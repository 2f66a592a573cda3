"""Mining GitHub: merged pull requests with their issues, labels and reviews; patches come from git.

What an API is good at is asked of it, and nothing else: REST for repositories (conditionally, `etags`),
GraphQL for pull requests in batches (`queries`, `details`). Rules are asked as soon as their facts are known,
so that most pull requests cost a line of a listing, and only those that pass cost objects (`mirror`). What
has been told is kept (`shelf`): a run that stops, for whatever cause, asks for nothing twice.

`limits` reads what GitHub says of its rate limits, `tokens` decides who asks next, `client` asks.
"""
