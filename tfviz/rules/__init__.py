"""The methods' backward rules, by operation type."""
