"""Cohere's dialect: Command (a prompt in), Command R (a conversation, with tools and documents), Embed and Rerank.

Streams are JSON lines. Source: cohere-ai/cohere-aws, its clients and examples, 2023-2024.
"""
