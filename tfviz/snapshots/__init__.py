"""Snapshots of what a network looks at while it trains: taking, keeping, reading and
sending them.
"""
