"""Metrics: what is counted where things happen, and the page that Prometheus reads."""
