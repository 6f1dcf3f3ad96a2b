"""Functions as tools for any MCP client (Claude, an IDE, an agent), behind a function URL.

awsllm lambda events http --body '{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}' > event.json
awsllm lambda invoke event.json --handler examples.lambdas.mcp_tools.handler
"""

from awsllm.lambdas import mcp_handler

STOCK = {"bell": 40, "saddle": 3}


def in_stock(product: str) -> dict[str, object]:
    """How many pieces of a product the shop has."""
    return {"product": product, "pieces": STOCK.get(product.lower(), 0)}


handler = mcp_handler(tools=[in_stock], instructions="Ask for products by one word.")
