"""Snapshots of what a network looks at while it trains: take, store and send them."""
