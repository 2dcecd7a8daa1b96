"""A durable log of records, which knows what each is about and not what it means."""
