"""Servers for tests: Git over HTTP and ssh, forges. All on loopback, none needs rights."""
