"""What is stored: records, migrations, the outbox and its loader, queries, exporters."""
