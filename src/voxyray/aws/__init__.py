"""Runs voxyray without a server, on AWS: Lambda functions, DynamoDB and queues."""
