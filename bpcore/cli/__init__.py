"""The command line: app.py declares the commands and their options, a module for each command does its work."""
